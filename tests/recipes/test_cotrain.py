from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from recipes.line_world import demonstrations, small_policy
from recipes.toy_pairs import COTRAIN, cotraining
from recipes.toy_texts import pretraining, record
from sinew.core.errors import ConfigError, DataError
from sinew.core.types import Cursor
from sinew.data.config import TextConfig
from sinew.data.formats.image_text import ImageText
from sinew.data.formats.llava import Llava
from sinew.data.text_ingest import open_text
from sinew.data.text_lessons import TextLessons
from sinew.models.speaking import speaker_of
from sinew.recipes.config import CotrainConfig, PretrainConfig


def test_the_gradient_is_that_of_actions_plus_weight_times_text(tmp_path: Path) -> None:
    """One step on both is a step on the sum, not two steps."""
    store = demonstrations(tmp_path / "robot")
    recipe = cotraining(store, tmp_path, 4, config=dataclasses.replace(COTRAIN, weight=0.25))
    pair = next(recipe.batches(Cursor()))
    assert pair.web is not None
    policy = recipe.modules["policy"]
    torch.manual_seed(0)
    found: list[torch.Tensor] = []
    recipe._text_loss(pair.web, found).backward()
    text = {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}
    policy.zero_grad(set_to_none=True)
    alone = cotraining(store, tmp_path, 4, config=COTRAIN)
    alone.inner.update(pair.robot)
    actions = {name: p.grad for name, p in alone.modules["policy"].named_parameters() if p.grad is not None}
    metrics = recipe.update(pair)
    for name, parameter in policy.named_parameters():
        wanted = sum(part[name] for part in (text, actions) if name in part)
        if isinstance(wanted, torch.Tensor) and parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, wanted, atol=1e-6, rtol=1e-4)
    assert any(name.startswith("network.language") for name in text)
    assert not any(name.startswith("head") for name in text)
    terms = float(metrics["action"]) + float(metrics["grounding"]) + 0.25 * float(metrics["text"])
    assert float(metrics["loss"]) == pytest.approx(terms, rel=1e-5)


def test_batches_hold_both_kinds_by_the_ratio_and_come_again(tmp_path: Path) -> None:
    store = demonstrations(tmp_path / "robot")
    recipe = cotraining(store, tmp_path, 8, config=dataclasses.replace(COTRAIN, ratio=0.3))
    whole = [pair for pair, _ in zip(recipe.batches(Cursor()), range(10), strict=False)]
    assert {pair.robot.num_rows for pair in whole} == {8}
    assert sum(pair.web.num_rows for pair in whole if pair.web is not None) == 24
    late = next(recipe.batches(Cursor(7)))
    assert late.web is not None
    assert whole[7].web is not None
    assert torch.equal(late.web.text.input_ids, whole[7].web.text.input_ids)
    assert torch.equal(late.robot.actions, whole[7].robot.actions)
    assert torch.equal(torch.as_tensor(late.ids), torch.as_tensor(whole[7].ids))


def test_an_update_without_conversations_is_the_robots_alone(tmp_path: Path) -> None:
    recipe = cotraining(demonstrations(tmp_path / "robot"), tmp_path, 4, config=dataclasses.replace(COTRAIN, ratio=0.1))
    pair = next(recipe.batches(Cursor()))
    assert pair.web is None
    assert "text" not in recipe.update(pair)


def test_what_was_learned_of_text_is_kept_beside_actions(tmp_path: Path) -> None:
    store = demonstrations(tmp_path / "robot", episodes=6)
    recipe = cotraining(store, tmp_path, 30, config=dataclasses.replace(COTRAIN, ratio=1))
    losses = [float(recipe.update(pair)["text"]) for pair, _ in zip(recipe.batches(Cursor()), range(30), strict=False)]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_an_update_runs_on_meta(tmp_path: Path) -> None:
    store = demonstrations(tmp_path / "robot")
    pair = next(cotraining(store, tmp_path, 4).batches(Cursor()))
    recipe = cotraining(store, tmp_path, 4, device="meta")
    metrics = recipe.update(pair.map(lambda array: array.to("meta")))
    assert {metrics[name].device.type for name in ("loss", "text", "grad_norm")} == {"meta"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (dataclasses.replace(COTRAIN, ratio=0.0), "web ratio 0: conversations per robot row, above 0"),
        (dataclasses.replace(COTRAIN, ratio=-1.0), "web ratio -1: .*recipe kind bc"),
        (dataclasses.replace(COTRAIN, ratio=float("nan")), "web ratio nan"),
        (dataclasses.replace(COTRAIN, weight=0.0), "text weight 0: wanted above 0"),
    ],
)
def test_shares_by_which_text_teaches_nothing_are_refused(config: CotrainConfig, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        cotraining(demonstrations(tmp_path / "robot", episodes=6), tmp_path, 4, config=config)


def test_conversations_about_nothing_are_refused(tmp_path: Path) -> None:
    recipe = cotraining(demonstrations(tmp_path / "robot", episodes=6), tmp_path, 4)
    spoken = (ImageText(f"talk/{n}", (), tuple(record(n).turns[2:])) for n in range(4))
    Llava.write(tmp_path / "talk", spoken)
    store = open_text(tmp_path / "talk", into=tmp_path / "read", config=TextConfig(image_size=(16, 16)))
    talk = TextLessons(store, recipe.vlm.chat(), COTRAIN, max_tokens=64, pad=0, seed=0)
    with pytest.raises(DataError, match="4 conversations without one image"):
        type(recipe)(recipe.inner, recipe.vlm, talk, ratio=1.0, batch=8, weight=1.0, seed=0)


def test_a_policy_without_a_language_model_is_refused(tmp_path: Path) -> None:
    policy = small_policy(demonstrations(tmp_path / "robot", episodes=6))
    with pytest.raises(ConfigError, match=r"\(film, words, fusion none\) has no vision-language model"):
        speaker_of(policy)


def test_text_moves_the_same_weights_as_in_a_stage_of_its_own(tmp_path: Path) -> None:
    """The model inside a policy is the one that earlier stages taught."""
    recipe = cotraining(demonstrations(tmp_path / "robot", episodes=6), tmp_path, 4)
    policy = recipe.modules["policy"]
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    stage = pretraining(tmp_path, 2, PretrainConfig(parts=("projector",), batch=4), vlm=recipe.vlm)
    stage.update(next(stage.batches(Cursor())))
    changed = {name for name, value in policy.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("network.project.") for name in changed)
