"""The gap to where the robot will act next, as features."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from sinew.core.types import Batch
from sinew.models.aim import SCALES, Aim
from sinew.models.config import GroundingConfig
from sinew.models.policy import VLAPolicy
from sinew.models.transfer import transfer


def test_large_gaps_saturate_and_small_ones_differ() -> None:
    aim = Aim(2, 5)
    near, nearer = aim(torch.tensor([[0.02, 0.0], [0.01, 0.0]]))
    assert not torch.allclose(near, nearer, atol=1e-4)
    assert torch.allclose(aim(torch.full((1, 2), 50.0)), aim(torch.full((1, 2), 90.0)))
    assert aim.linear.in_features == 2 * len(SCALES)


def test_the_gap_reaches_the_head_and_only_where_a_state_is_a_point(
    build: Callable[..., VLAPolicy], batch: Callable[..., Batch[Tensor]]
) -> None:
    plain = build()
    grounding = GroundingConfig(points=(("thing", 2),), coordinates=(), states=("thing",))
    aiming = build(dataclasses.replace(plain.config, grounding=grounding))
    assert not plain.aims
    found = transfer(plain, aiming)
    assert {name for name, _ in found.fresh} == {"aims.thing.linear.weight", "aims.thing.linear.bias"}
    obs = batch().obs
    with torch.no_grad():
        without, before = plain.eval().encode(obs).features.tokens, aiming.eval().encode(obs).features.tokens
        for parameter in aiming.aims.parameters():
            parameter.zero_()
        silenced = aiming.encode(obs).features.tokens
    assert torch.equal(silenced, without)
    assert not torch.allclose(before, without)


def test_without_a_state_there_is_no_gap(build: Callable[..., VLAPolicy]) -> None:
    grounding = GroundingConfig(points=(("thing", 2),), coordinates=(), states=("thing",))
    assert not build(dataclasses.replace(build().config, grounding=grounding, state=False)).aims
