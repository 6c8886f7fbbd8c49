"""Worked numbers for the action loss."""

from __future__ import annotations

import math

import pytest
import torch

from sinew.core.types import Batch, CameraSpec, Observation, RobotSpec
from sinew.models.actions import ActionLoss

SPEC = RobotSpec(
    embodiment="arm",
    cameras={"front": CameraSpec(4, 4)},
    state=("x",),
    state_units=("m",),
    action=("dx", "grip"),
    action_units=("m", "1"),
    low=(-1.0, 0.0),
    high=(1.0, 1.0),
    hz=10.0,
    kind="delta",
    binary=("grip",),
)


def batch(actions: torch.Tensor, is_pad: torch.Tensor, mask: torch.Tensor | None = None) -> Batch[torch.Tensor]:
    """Return a batch of one row with these actions."""
    obs = Observation({}, torch.zeros(1, 1, 1), ("",))
    return Batch(obs, actions, is_pad, torch.ones(1), action_mask=mask)


def test_loss_is_the_mean_of_l1_and_weighted_cross_entropy_over_real_steps() -> None:
    actions = torch.tensor([[[0.5, 1.0], [0.0, 0.0]]])
    raw = torch.tensor([[[0.1, 0.0], [9.0, 9.0]]])
    loss = ActionLoss(SPEC, 0.3)(raw, batch(actions, torch.tensor([[False, True]])))
    assert loss.item() == pytest.approx((0.4 + 0.3 * math.log(2)) / 2)


def test_a_masked_action_value_does_not_count() -> None:
    actions, raw = torch.tensor([[[0.5, 1.0]]]), torch.tensor([[[0.1, -7.0]]])
    mask = torch.tensor([[True, False]])
    loss = ActionLoss(SPEC, 0.3)(raw, batch(actions, torch.tensor([[False]]), mask))
    assert loss.item() == pytest.approx(0.4)


def test_logits_decide_between_low_and_high() -> None:
    raw = torch.tensor([[[0.2, -0.1], [0.3, 0.1]]])
    assert ActionLoss(SPEC, 0.3).decide(raw)[0, :, 1].tolist() == [0.0, 1.0]
