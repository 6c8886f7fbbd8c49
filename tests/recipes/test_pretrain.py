from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from recipes.toy_texts import pretraining, record, toy_store, toy_vlm
from sinew.core.chat import SHARE
from sinew.core.errors import ConfigError
from sinew.core.types import Cursor
from sinew.data.text_batches import TextRows
from sinew.data.text_lessons import GREY, exchanges
from sinew.models.vlm import VLM, Draw
from sinew.recipes.config import PretrainConfig
from sinew.recipes.pretrain import Pretraining, faultless

PACKED = PretrainConfig(parts=("vision", "projector", "lm"), exchanges="rest", apart=2, balance="answer", batch=12)


def train(recipe: Pretraining, updates: int) -> list[float]:
    batches = recipe.batches(Cursor())
    return [float(recipe.update(next(batches))["loss"]) for _ in range(updates)]


def answers(vlm: VLM, question: str) -> list[str]:
    images = np.stack([record(number).images[0] for number in range(6)])[:, None]
    return vlm.answer(images, [f"<image>\n{question}"] * 6, Draw(tokens=4))


def test_a_model_learns_to_answer_from_packed_questions(tmp_path: Path) -> None:
    vlm = toy_vlm()
    losses = train(pretraining(tmp_path, 40, PACKED, vlm=vlm), 40)
    assert losses[-1] < 0.1 < losses[0]
    assert answers(vlm, "what colour ?") == ["red", "green", "blue"] * 2
    assert answers(vlm, "how bright ?") == ["dark"] * 3 + ["light"] * 3


def test_a_reader_teaches_the_vision_encoder_and_leaves_the_rest_alone(tmp_path: Path) -> None:
    vlm = toy_vlm()
    before = {name: value.clone() for name, value in vlm.state_dict().items()}
    config = PretrainConfig(data="captions", parts=("vision", "reader"), exchanges="first", plain=True, batch=12)
    losses = train(pretraining(tmp_path, 40, config, vlm=vlm), 40)
    assert losses[-1] < losses[0] / 3
    changed = {
        name.partition(".")[0] for name, value in vlm.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed == {"vision"}


@pytest.mark.parametrize("parts", [("projector",), ("projector", "lm")])
def test_parts_that_are_not_named_stay_bit_for_bit(parts: tuple[str, ...], tmp_path: Path) -> None:
    vlm = toy_vlm()
    before = {name: value.clone() for name, value in vlm.state_dict().items()}
    train(pretraining(tmp_path, 3, PretrainConfig(parts=parts, batch=4), vlm=vlm), 3)
    changed = {
        name.partition(".")[0] for name, value in vlm.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed == set(parts)


def test_a_blind_model_learns_shares_only_and_never_an_image(tmp_path: Path) -> None:
    recipe = pretraining(tmp_path, 2, PretrainConfig(parts=("lm",), apart=2, sight="blank", batch=4))
    assert recipe.lesson(0).text.images.shape[1] == 0
    assert (recipe.lesson(0).text.input_ids == recipe.vlm.speech.image).sum() == 4 * recipe.vlm.image_tokens
    assert train(recipe, 2)[0] > 0


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_so_many_images_are_grey_and_the_store_keeps_its_own(share: float, tmp_path: Path) -> None:
    recipe = pretraining(tmp_path, 2, PretrainConfig(apart=2, blank=share, batch=24))
    images = recipe.lesson(3).text.images[:, 0]
    grey = (images == GREY).all(axis=(1, 2, 3))
    assert abs(grey.mean() - share) < 0.3 * (0 < share < 1) + 1e-9
    again = recipe.lesson(3).text.images[:, 0]
    assert np.array_equal(images, again)
    assert not (recipe.lessons.store.images_of(np.arange(24))[0] == GREY).all(axis=(1, 2, 3)).any()


def test_words_stand_where_the_image_was_before_every_question() -> None:
    vlm = toy_vlm()
    chat, said = vlm.chat(), record(0)
    turns = exchanges(said.turns, "rest")
    rows = TextRows(("0",), (turns,), np.zeros((1, 0, 3, 16, 16), np.uint8), np.arange(1), ("dark red",))
    told = rows.packed(chat, max_tokens=64)
    ids = told.input_ids[0].tolist()
    words = vlm.tokens.encode("dark red")
    assert ids[:2] == words
    assert vlm.speech.image not in ids
    assert told.segment_ids is not None
    assert told.segment_ids[0, :2].tolist() == [SHARE, SHARE]  # shared, so that the second question sees them too


def test_a_stage_of_words_tells_each_record_its_own(tmp_path: Path) -> None:
    config = PretrainConfig(parts=("lm",), apart=2, sight="words", exchanges="rest", batch=6)
    recipe = pretraining(tmp_path, 2, config)
    lesson = recipe.lesson(0).text
    names = [" ".join(recipe.vlm.tokens.decode(row[:2]).split()) for row in lesson.input_ids.tolist()]
    assert lesson.ids is not None
    assert names == [record(number).turns[1].text for number in lesson.ids.tolist()]


def test_a_caption_counts_as_exact_when_none_of_its_ids_is_wrong() -> None:
    logits = torch.eye(3)[[0, 1, 2, 2]]
    share = faultless(logits, torch.tensor([0, 1, 2, 0]), torch.tensor([0, 0, 1, 2]), 3)
    assert float(share) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (PretrainConfig(parts=("eyes",)), "stage parts eyes: wanted some of vision, projector, lm, reader"),
        (PretrainConfig(parts=("vision", "lm", "reader")), "learns by the reader alone"),
        (PretrainConfig(parts=("projector", "lm"), sight="blank"), "can teach the lm only"),
    ],
)
def test_parts_that_cannot_learn_together_are_refused(config: PretrainConfig, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        Pretraining(
            toy_vlm(),
            toy_store(tmp_path),
            config,
            pretraining(tmp_path, 1, PretrainConfig()).optim.config,
            updates=1,
            seed=0,
        )


def test_an_update_runs_on_meta(tmp_path: Path) -> None:
    vlm = toy_vlm().to("meta")
    recipe = pretraining(tmp_path, 1, PACKED, vlm=vlm)
    recipe.update(recipe.lesson(0).map(lambda array: torch.from_numpy(array).to("meta")))
    assert recipe.num_updates == 1
