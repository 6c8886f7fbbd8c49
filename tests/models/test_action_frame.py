"""Predicting from where a chunk begins: what comes out is exactly what the robot takes, or it is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from sinew.core.actions import convert_actions
from sinew.core.errors import ConfigError, SpecError
from sinew.core.history import History
from sinew.core.types import ActionKind, RobotSpec
from sinew.deploy.infer import VLAInferenceEngine
from sinew.deploy.onnx import export_onnx
from sinew.deploy.parity import compare_policies
from sinew.models.action_frame import ActionFrame
from sinew.models.config import PolicyConfig
from sinew.models.policy import VLAPolicy
from toy import ToyConfig
from toy_policy import look, tiny_policy

SPEC = dataclasses.replace(
    ToyConfig().spec,
    kind="absolute",
    state=("last_move", "move"),
    state_units=("m", "m"),
    low=(-9.0, 0.0),
    high=(9.0, 1.0),
)


def relative(spec: RobotSpec = SPEC, head: str = "mlp", **changes: object) -> VLAPolicy:
    """Return a policy that predicts relative actions and does not read the state it measures from."""
    return tiny_policy(head, spec=spec, actions="relative", state=False, **changes)


@pytest.mark.parametrize(
    ("takes", "predicts", "horizon"),
    [
        ("absolute", "relative", 5),
        ("relative", "absolute", 5),
        ("absolute", "delta", 1),
        ("delta", "absolute", 1),
        ("delta", "relative", 1),
        ("absolute", "absolute", 5),
    ],
)
def test_what_is_executed_is_the_exact_conversion(takes: ActionKind, predicts: ActionKind, horizon: int) -> None:
    spec = dataclasses.replace(SPEC, kind=takes)
    frame = ActionFrame(spec, PolicyConfig(actions=predicts, horizon=horizon))
    random = np.random.default_rng(0)
    chunk = random.normal(size=(64, horizon, 2)).astype(np.float32)
    state = (100 * random.normal(size=(64, 2, 2))).astype(np.float32)
    now = np.repeat(state[:, -1:], horizon, axis=1)
    wanted = convert_actions(chunk, now, {0: 1}, kind=predicts, to=takes).astype(np.float32)
    found = frame.taken(torch.from_numpy(chunk), torch.from_numpy(state))
    np.testing.assert_array_equal(found.numpy(), wanted)
    back = convert_actions(chunk, now, {0: 1}, kind=takes, to=predicts).astype(np.float32)
    np.testing.assert_array_equal(frame.predicted(torch.from_numpy(chunk), torch.from_numpy(state)).numpy(), back)


def test_what_cannot_be_converted_when_a_chunk_is_predicted_is_refused() -> None:
    for takes, predicts in (("absolute", "delta"), ("delta", "absolute"), ("delta", "relative")):
        with pytest.raises(ConfigError, match=r"state of its own step, which nobody knows.*--policy.horizon 1"):
            ActionFrame(dataclasses.replace(SPEC, kind=takes), PolicyConfig(actions=predicts, horizon=2))
    with pytest.raises(ConfigError, match="a waypoint does not say at which step"):
        ActionFrame(dataclasses.replace(SPEC, kind="waypoint"), PolicyConfig(actions="relative"))
    turning = dataclasses.replace(SPEC, rotation="quaternion")
    with pytest.raises(SpecError, match="which do not add up number by number"):
        ActionFrame(turning, PolicyConfig(actions="relative"))
    named = PolicyConfig(actions="relative", measured_from={"honk": "last_move"})
    with pytest.raises(SpecError, match="honk: is two-valued"):
        ActionFrame(SPEC, named)
    assert ActionFrame(turning, PolicyConfig(actions="relative", measured_from={"move": "move"})).sign == 1


def test_a_policy_that_predicts_relative_actions_follows_its_robot(tmp_path: Path) -> None:
    policy, obs = relative(), History(2).push(look(3))
    moved = dataclasses.replace(obs, state=obs.state + np.float32([0.0, 4.0]))
    chunk, there = policy.predict_action_chunk(obs), policy.predict_action_chunk(moved)
    np.testing.assert_allclose(there[..., 0] - chunk[..., 0], 4.0, atol=1e-6)
    np.testing.assert_array_equal(there[..., 1], chunk[..., 1])
    policy.save_pretrained(tmp_path)
    np.testing.assert_array_equal(VLAPolicy.from_pretrained(tmp_path).predict_action_chunk(obs), chunk)
    plain = tiny_policy("mlp", spec=SPEC, state=False)
    np.testing.assert_array_equal(plain.predict_action_chunk(obs), plain.predict_action_chunk(moved))


@pytest.mark.parametrize("head", ["mlp", "flow"])
def test_an_artefact_puts_the_state_back_as_the_policy_does(head: str, tmp_path: Path) -> None:
    policy = relative(head=head)
    export_onnx(policy, tmp_path / "artefact", source={})
    engine = VLAInferenceEngine(tmp_path / "artefact")
    found = compare_policies(policy, engine, engine.manifest, ("go", "left"), batches=(1, 3))
    assert max(item.worst for item in found) <= 1e-5
