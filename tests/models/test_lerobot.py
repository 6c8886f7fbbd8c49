"""Policies of LeRobot answer with us what they answer there: weights by name, outputs written by LeRobot 0.4.4."""

from __future__ import annotations

import dataclasses
import operator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from from_lerobot import edit, images, laid
from sinew.core.errors import CheckpointError, ConfigError, DataError
from sinew.core.types import Batch, NumpyObservation, Observation
from sinew.models.lerobot import read_lerobot
from sinew.models.policy import VLAPolicy
from sinew.run.adopting import adopt

GOLDEN = Path(__file__).parent / "golden" / "lerobot"
POLICIES = sorted(path.name for path in GOLDEN.iterdir())


def given(place: Path, name: str) -> Path:
    """Return a ``pretrained_model`` with the weights that LeRobot had when it answered."""
    return laid(GOLDEN / name, place)


def seen(expected: Any, policy: VLAPolicy) -> NumpyObservation:  # noqa: ANN401  (an npz)
    """Return the observations that LeRobot answered."""
    found = images(expected)
    assert set(found) == set(policy.spec.cameras)
    rows, ticks = expected["state"].shape[:2]
    return Observation(found, expected["state"], ("",) * rows, history_is_pad=np.zeros((rows, ticks), dtype=bool))


@pytest.mark.parametrize("name", POLICIES)
def test_answers_what_it_answers_in_lerobot(name: str, tmp_path: Path) -> None:
    adopt(given(tmp_path / "theirs", name), tmp_path / "ours", None)
    policy = VLAPolicy.from_pretrained(tmp_path / "ours").eval()
    expected = np.load(GOLDEN / name / "expected.npz")
    obs, noise = seen(expected, policy), expected["noise"]
    chunks: list[NDArray[np.float32]] = []
    for row in range(len(noise)):
        torch.manual_seed(row)  # DDPM draws at every step, in LeRobot for one observation at a time
        one = slice(row, row + 1)
        alone = dataclasses.replace(obs.map(operator.itemgetter(one)), instruction=("",))
        chunks.append(policy.predict_action_chunk(alone, noise[one] if noise.shape[1] else None))
    chunk = np.concatenate(chunks)
    steps = expected["chunk"].shape[1]
    np.testing.assert_allclose(chunk[:, :steps], expected["chunk"], rtol=1e-5, atol=1e-5)
    assert policy.config.execute == 4


def test_what_was_adopted_learns_on(tmp_path: Path) -> None:
    policy = adopt(given(tmp_path / "theirs", "act"), tmp_path / "ours", None).train()
    random = torch.Generator().manual_seed(0)
    images = {
        name: torch.randint(256, (2, 1, 3, 64, 80), generator=random).to(torch.uint8) for name in ("front", "wrist")
    }
    batch = Batch(
        obs=Observation(images, torch.randn(2, 1, 5, generator=random), ("", "")),
        actions=torch.randn(2, 6, 4, generator=random),
        is_pad=torch.zeros(2, 6, dtype=torch.bool),
        weight=torch.ones(2),
    )
    policy.losses(batch)["action"].sum().backward()
    frozen = [name for name, value in policy.named_parameters() if value.requires_grad and value.grad is None]
    assert frozen == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"type": "vqbet"}, "type 'vqbet'.*can be taken over: act, diffusion"),
        ({"vision_backbone": "resnet101"}, "'resnet101'.*resnet18, resnet34, resnet50"),
        ({"replace_final_stride_with_dilation": True}, "dilated"),
        ({"n_decoder_layers": 3}, "do not fit each other"),
        ({"normalization_mapping": {"VISUAL": "QUANTILES"}}, "normalised by QUANTILES"),
        ({"input_features": {"observation.environment_state": {"shape": [2]}}}, "it sees observation.env"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_not_ours_is_refused_with_what_is(changed: dict[str, object], said: str, tmp_path: Path) -> None:
    place = edit(given(tmp_path / "theirs", "act_plain"), **changed)
    with pytest.raises(CheckpointError, match=said):
        adopt(place, tmp_path / "ours", None)
    assert not (tmp_path / "ours").exists()


def test_a_foreign_weight_is_named(tmp_path: Path) -> None:
    place = given(tmp_path / "theirs", "act_plain")
    save_file({"model.gripper.weight": torch.zeros(1)}, place / "model.safetensors")
    with pytest.raises(
        CheckpointError, match=r"1 weights have names that are not known, such as model\.gripper\.weight"
    ):
        read_lerobot(place)


def test_older_files_without_statistics_are_sent_to_the_migration(tmp_path: Path) -> None:
    place = given(tmp_path / "theirs", "act_plain")
    (place / "policy_preprocessor.json").write_text('{"steps": []}')
    with pytest.raises(CheckpointError, match="migrate_policy_normalization"):
        read_lerobot(place)


def test_a_robot_of_which_nothing_is_said_is_asked_for(tmp_path: Path) -> None:
    place = given(tmp_path / "theirs", "act_plain")
    (place / "spec.json").unlink()
    with pytest.raises(DataError, match="hz"):
        adopt(place, tmp_path / "ours", None)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    with pytest.raises(ConfigError, match="exists and is left as it is"):
        adopt(given(tmp_path / "theirs", "act_plain"), tmp_path / "ours", None)


def test_ensembling_over_time_is_said_to_be_left_out(tmp_path: Path) -> None:
    place = edit(given(tmp_path / "theirs", "act_plain"), temporal_ensemble_coeff=0.01)
    assert [note for note in read_lerobot(place).notes if "temporal_ensemble_coeff 0.01" in note]
