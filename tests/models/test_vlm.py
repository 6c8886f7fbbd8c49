from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from models.small_vlm import TEXTS, VISIONS, small_vlm
from sinew.core.chat import NO_LOSS, SHARE
from sinew.core.errors import ConfigError, DataError
from sinew.core.types import TextBatch
from sinew.models.projector_config import PerceiverProjectorConfig
from sinew.models.vlm import VLM, Draw, pick, visible
from sinew.models.vlm_config import VlmConfig

IMAGES = torch.randint(0, 256, (2, 1, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
ASK = "<image>\nwhat is it ?"


def conversation(vlm: VLM, *answers: str) -> TextBatch[torch.Tensor]:
    """Return one row: an image, a question and an answer, as often as there are answers."""
    chat = vlm.chat()
    from sinew.core.chat import Turn

    turns = [turn for text in answers for turn in (Turn("human", "how many ?"), Turn("gpt", text))]
    turns[0] = Turn("human", ASK)
    ids, labels = chat.tokenize(turns)
    ones = torch.ones(1, len(ids), dtype=torch.bool)
    return TextBatch(IMAGES[:1], torch.tensor([ids]), torch.tensor([labels]), ones)


def test_an_image_takes_the_place_of_its_placeholders() -> None:
    vlm = small_vlm("stem").eval()
    ids = torch.tensor([vlm.chat().prompt(ASK)] * 2)
    embedded = vlm.embed(IMAGES, ids)
    tokens = vlm.projector(vlm.vision(IMAGES[:, 0]))
    torch.testing.assert_close(embedded[:, :4], tokens)
    torch.testing.assert_close(embedded[:, 4:], vlm.embed(None, ids)[:, 4:])


def test_several_images_come_in_their_order_and_spare_ones_stay_unseen() -> None:
    vlm = small_vlm("stem").eval()
    pair = torch.cat([IMAGES, IMAGES.flip(0)], dim=1)
    ids = torch.tensor(
        [vlm.chat().prompt("<image> <image> how many ?"), vlm.chat().prompt("<image> how many ? red red red red")]
    )
    embedded = vlm.embed(pair, ids)
    tokens = vlm.projector(vlm.vision(pair.flatten(0, 1))).unflatten(0, (2, 2))
    torch.testing.assert_close(embedded[0, :8], tokens[0].flatten(0, 1))
    torch.testing.assert_close(embedded[1, :4], tokens[1, 0])
    torch.testing.assert_close(embedded[1, 4:], vlm.embed(None, ids)[1, 4:])


def test_loss_is_the_cross_entropy_of_answers_by_the_full_logits() -> None:
    vlm = small_vlm("stem")
    batch = conversation(vlm, "red", "two")
    logits = vlm.logits(vlm.hidden(batch.images, batch.input_ids))
    whole = torch.nn.functional.cross_entropy(logits[0, :-1], batch.labels[0, 1:], ignore_index=NO_LOSS)
    kept = (batch.labels[0] != NO_LOSS).nonzero()[:, 0]
    torch.testing.assert_close(vlm.losses(batch)["text"].mean(), whole)
    torch.testing.assert_close(vlm.losses(batch, kept)["text"], vlm.losses(batch)["text"])
    assert len(kept) == 4  # two words, each with the end of its answer


def test_the_head_is_applied_to_answers_only() -> None:
    vlm = small_vlm("stem")
    seen: list[int] = []
    vlm.lm.lm_head.register_forward_hook(lambda _module, _inputs, out: seen.append(len(out)))  # type: ignore[union-attr]
    vlm.losses(conversation(vlm, "red"))
    assert seen == [2]


def test_questions_packed_behind_one_image_are_answered_as_if_alone() -> None:
    vlm = small_vlm("stem").eval()
    chat = vlm.chat()
    shared = chat.prompt("<image>")[:-1]
    parts = [chat.encode("what is it ?<answer>red"), chat.encode("how many ?<answer>two one")]
    ids = torch.tensor([[*shared, *parts[0], *parts[1]]])
    segments = torch.tensor([[SHARE] * 4 + [SHARE + 1] * len(parts[0]) + [SHARE + 2] * len(parts[1])])
    packed = vlm.hidden(IMAGES[:1], ids, segments)[0, 4:].split([len(part) for part in parts])
    for part, hidden in zip(parts, packed, strict=True):
        alone = vlm.hidden(IMAGES[:1], torch.tensor([[*shared, *part]]))[0, 4:]
        torch.testing.assert_close(hidden, alone, atol=1e-5, rtol=1e-4)


def test_records_in_one_row_do_not_see_each_other() -> None:
    allowed = visible(torch.tensor([[SHARE, SHARE + 1, SHARE + 2, 2 * SHARE, 2 * SHARE + 1, 0]]))[0].int().tolist()
    assert allowed == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 0, 1, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]


def test_generation_with_a_cache_and_padding_is_what_full_passes_say() -> None:
    vlm = small_vlm("stem").eval()
    chat = vlm.chat()
    prompts = [chat.prompt(ASK), chat.prompt("<image>\nhow many ? one two one")]
    found = vlm.generate(IMAGES, prompts, Draw(tokens=5))
    for row, prompt in enumerate(prompts):
        ids = list(prompt)
        for _ in range(5):
            logits = vlm.logits(vlm.hidden(IMAGES[row : row + 1], torch.tensor([ids])))
            ids.append(int(logits[0, -1].argmax()))
        wanted = ids[len(prompt) :]
        stop = vlm.speech.end[0]
        assert found[row] == (wanted[: wanted.index(stop)] if stop in wanted else wanted)


def test_draws_keep_to_temperature_and_nucleus() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0]]).repeat(4000, 1)
    generator = torch.Generator().manual_seed(0)
    shares = pick(logits, Draw(temperature=1.0), generator).bincount(minlength=3) / 4000
    torch.testing.assert_close(shares, logits[0].softmax(0), atol=0.03, rtol=0)
    assert set(pick(logits, Draw(temperature=1.0, top_p=0.8), generator).tolist()) == {0, 1}
    assert set(pick(logits, Draw()).tolist()) == {0}


def test_answers_are_texts_and_too_few_images_are_refused() -> None:
    vlm = small_vlm("stem")
    said = vlm.answer(IMAGES.numpy(), [ASK, ASK], Draw(tokens=3))
    assert len(said) == 2
    assert all(isinstance(text, str) for text in said)
    assert vlm.training
    with pytest.raises(DataError, match="looks at 0 images, 1 were given"):
        vlm.answer(IMAGES.numpy(), ["what is it ?"] * 2)


@pytest.mark.parametrize("kind", [*VISIONS, "perceiver"])
def test_every_encoder_runs_and_learns_on_meta(kind: str) -> None:
    if kind == "perceiver":
        vlm = small_vlm("stem")
        config = dataclasses.replace(vlm.config, projector=PerceiverProjectorConfig(latents=3, heads=2))
        vlm = VLM.build(config, TEXTS)
        assert vlm.image_tokens == 3
    else:
        vlm = small_vlm(kind)
    batch = conversation(vlm, "red", "one two")
    places = (batch.labels[0] != NO_LOSS).nonzero()[:, 0]
    vlm = vlm.to("meta")
    loss = vlm.losses(batch.map(lambda part: part.to("meta")), places.to("meta"))["text"]
    loss.sum().backward()
    assert loss.shape == (5,)
    assert all(part.grad is not None for part in vlm.projector.parameters())


def test_only_named_parts_learn() -> None:
    vlm = small_vlm("stem")
    vlm.train_parts(["projector"])
    assert [name for name in ("vision", "projector", "lm") if next(getattr(vlm, name).parameters()).requires_grad] == [
        "projector"
    ]
    with pytest.raises(ConfigError, match=r"no such parts .*eyes"):
        vlm.train_parts(["eyes"])


def test_a_model_learns_to_tell_two_images_apart() -> None:
    torch.manual_seed(0)
    vlm = VLM.build(VlmConfig(vision=VISIONS["stem"], language=small_vlm("stem").config.language), TEXTS)
    images = np.zeros((2, 1, 3, 16, 16), np.uint8)
    images[1] = 255
    batches = [conversation(vlm, word) for word in ("red", "blue")]
    batch = TextBatch(
        torch.as_tensor(images),
        *(torch.cat([getattr(b, name) for b in batches]) for name in ("input_ids", "labels", "attention_mask")),
    )
    optim = torch.optim.AdamW(vlm.parameters(), lr=3e-3)
    for _ in range(60):
        optim.zero_grad()
        vlm.losses(batch)["text"].mean().backward()
        optim.step()
    assert vlm.answer(images, [ASK, ASK], Draw(tokens=4)) == ["red", "blue"]
    assert vlm.answer(images[::-1].copy(), [ASK, ASK], Draw(tokens=4)) == ["blue", "red"]
