"""pi0 answers and loses with us what it does in LeRobot 0.4.4, which wrote what is expected."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from from_lerobot import edit, laid, lesson, seen
from sinew.core.errors import CheckpointError
from sinew.models.condensed import condensed, features_in
from sinew.models.heads.flow import FlowHead
from sinew.models.lerobot import read_lerobot
from sinew.models.lerobot_pi0 import BEGIN, DEFAULTS, TABLES, TIMES
from sinew.models.policy import VLAPolicy
from sinew.run.adopting import adopt

GOLDEN = Path(__file__).parent / "golden" / "pi0"
VLM = GOLDEN / "vlm"
TABLE = f"{BEGIN}{TABLES[0]}.weight"


def given(place: Path) -> Path:
    """Return a ``pretrained_model`` with the weights that LeRobot had when it answered, and a spec.json beside it."""
    return laid(GOLDEN / "whole", place)


@pytest.fixture
def policy(tmp_path: Path) -> VLAPolicy:
    """Return it as ours, written and read again."""
    adopt(given(tmp_path / "theirs"), tmp_path / "ours", None, str(VLM))
    return VLAPolicy.from_pretrained(tmp_path / "ours").eval()


@pytest.fixture
def expected() -> Any:  # noqa: ANN401  (an npz)
    """Return what LeRobot was given and answered."""
    return np.load(GOLDEN / "whole" / "expected.npz")


def losses(policy: VLAPolicy, expected: Any) -> np.ndarray[Any, Any]:  # noqa: ANN401  (an npz)
    """Return losses at the noise and time that LeRobot was given."""
    batch, head = lesson(expected), policy.head
    assert isinstance(head, FlowHead)
    unit = dataclasses.replace(batch, actions=policy.normalizer.to_unit("action", batch.actions))
    noise, time = torch.from_numpy(expected["noise"]), 1 - torch.from_numpy(expected["time"]).double()
    with torch.no_grad():
        return head.loss_at(policy.encode(batch.obs).features, unit, noise, time).numpy()


def test_answers_and_loses_what_it_does_in_lerobot(policy: VLAPolicy, expected: Any) -> None:  # noqa: ANN401
    assert set(policy.spec.cameras) == {"front", "wrist"}  # and none that is always empty
    assert policy.config.execute == 3
    chunk = policy.predict_action_chunk(seen(expected), expected["noise"])
    np.testing.assert_allclose(chunk, expected["chunk"], rtol=1e-5, atol=1e-5 * np.abs(expected["chunk"]).max())
    np.testing.assert_allclose(losses(policy, expected), expected["loss"], rtol=1e-5)


def test_what_pads_images_is_seen(policy: VLAPolicy, expected: Any) -> None:  # noqa: ANN401
    """What LeRobot pads with is not black, and black would be answered otherwise."""
    policy.network.padding = 0.0  # type: ignore[assignment]
    chunk = policy.predict_action_chunk(seen(expected), expected["noise"])
    assert np.abs(chunk - expected["chunk"]).max() > 1e-3 * np.abs(expected["chunk"]).max()


def test_the_state_is_read_by_the_expert_alone(policy: VLAPolicy, expected: Any) -> None:  # noqa: ANN401
    obs = lesson(expected).obs
    one, other = (policy.encode(given).features for given in (obs, dataclasses.replace(obs, state=obs.state + 1)))
    assert torch.equal(one.tokens, other.tokens)
    assert one.state is not None
    assert one.state.shape == (3, 8)
    assert isinstance(policy.head, FlowHead)
    noise = torch.from_numpy(expected["noise"])
    assert not torch.allclose(*(policy.head.sample(features, noise) for features in (one, other)))
    kept = features_in(condensed(obs, one))
    assert kept is not None
    assert torch.equal(policy.head.sample(kept, noise), policy.head.sample(one, noise))


def test_values_that_the_robot_has_not_are_not_learned(policy: VLAPolicy, expected: Any) -> None:  # noqa: ANN401
    """As in LeRobot; openpi learns them to be zero."""
    assert isinstance(policy.head, FlowHead)
    before = losses(policy, expected)
    with torch.no_grad():
        policy.head.field.leave.bias[4:] += 1.0  # type: ignore[union-attr,index]
    np.testing.assert_array_equal(losses(policy, expected), before)
    with torch.no_grad():
        policy.head.field.leave.bias[:4] += 1.0  # type: ignore[union-attr,index]
    assert not np.allclose(losses(policy, expected), before)


def test_all_of_it_learns_on_as_it_did(tmp_path: Path, expected: Any) -> None:  # noqa: ANN401
    policy = adopt(given(tmp_path / "theirs"), tmp_path / "ours", None, str(VLM)).train()
    policy.losses(lesson(expected))["action"].sum().backward()
    idle = {name for name, value in policy.named_parameters() if value.requires_grad and value.grad is None}
    # What the last layer makes of the prefix is read by nobody: the expert has its keys and values.
    last = "network.language.model.layers.2."
    assert all(name.startswith((last, "network.language.model.norm")) for name in idle), idle
    frozen = read_lerobot(edit(tmp_path / "theirs", train_expert_only=True), str(VLM)).policy
    assert (frozen.vision.frozen, frozen.language.frozen) == ("all", "all")  # type: ignore[union-attr]


@pytest.mark.parametrize("older", ["no model.", "language_model.model", "lm_head alone"])
def test_names_of_openpi_and_of_older_files_are_known(older: str, tmp_path: Path) -> None:
    place = given(tmp_path / "theirs")
    weights = load_file(place / "model.safetensors")
    if older == "no model.":
        weights = {name.removeprefix("model."): value for name, value in weights.items()}
    elif older == "language_model.model":
        new, old = f"{BEGIN}model.language_model.", f"{BEGIN}language_model.model."
        weights = {name.replace(new, old): value for name, value in weights.items()}
    else:
        weights.pop(TABLE, None)
    save_file(weights, place / "model.safetensors")
    found, whole = (read_lerobot(one, str(VLM)).weights for one in (place, given(tmp_path / "whole")))
    assert set(found) == set(whole)
    assert all(torch.equal(found[name], value) for name, value in whole.items() if not value.isnan().any())


def test_settings_that_older_files_lack_are_lerobots_defaults(tmp_path: Path) -> None:
    place = given(tmp_path / "theirs")
    content = json.loads((place / "config.json").read_text())
    known = {name: content[name] for name in content if name not in {**DEFAULTS, **TIMES}}
    kept = {name: content[name] for name in ("image_resolution", "tokenizer_max_length")}  # small ones, here
    (place / "config.json").write_text(json.dumps(known | kept))
    assert read_lerobot(place, str(VLM)).policy == read_lerobot(given(tmp_path / "whole"), str(VLM)).policy


def test_one_without_statistics_learns_before_it_acts(tmp_path: Path) -> None:
    place = given(tmp_path / "theirs")
    (place / "policy_preprocessor.json").unlink()
    notes = read_lerobot(place, str(VLM)).notes
    assert [note for note in notes if "no statistics of state and action" in note]
    assert [note for note in notes if "darker than black" in note]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"time_sampling_offset": 0.1}, r"time_sampling_offset is 0\.1, 0\.001 is known.*--part vision"),
        ({"normalization_mapping": {"VISUAL": "MEAN_STD"}}, "images are normalised"),
        ({"input_features": {"observation.images.front": {"shape": [3, 8, 8]}}}, "feels no state"),
        ({"image_resolution": [64, 64]}, r"images come as \[64, 64\], its tower sees 32 pixels"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_not_ours_is_refused(changed: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=said):
        adopt(edit(given(tmp_path / "theirs"), **changed), tmp_path / "ours", None, str(VLM))
    assert not (tmp_path / "ours").exists()


def test_heads_of_another_size_are_asked_for(tmp_path: Path) -> None:
    shutil.copytree(VLM, tmp_path / "vlm")
    content = json.loads((VLM / "config.json").read_text())
    del content["text_config"]["head_dim"]
    (tmp_path / "vlm" / "config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"64 values are not cut into attention heads of 256.*--tokenizer"):
        read_lerobot(given(tmp_path / "theirs"), str(tmp_path / "vlm"))


def test_a_tokenizer_that_is_not_there_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"brings no tokenizer.*--tokenizer.*paligemma-3b-pt-224"):
        read_lerobot(given(tmp_path / "theirs"), "./nowhere")
