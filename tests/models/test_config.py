"""What every action head and every encoder of this house promises, run over the dictionaries."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sinew.core.types import Batch, RobotSpec
from sinew.models.config import HEADS, VISION, GroundingConfig, LanguageConfig, PolicyConfig
from sinew.models.policy import VLAPolicy

Build = Callable[..., VLAPolicy]
Draw = Callable[..., Batch[Tensor]]
OWN = ("film", "tokens")
"""The encoders of this house; pretrained ones stand in the suite over all parts."""
MATRIX = [(vision, head) for vision in OWN for head in sorted(HEADS)]
ONCE = [("film", head) for head in sorted(HEADS)] + [("tokens", "mlp")]
"""Every head and every encoder once, where each costs seconds."""


def config_of(vision: str, head: str, **changes: int) -> PolicyConfig:
    """Return a small policy of these parts."""
    return PolicyConfig(
        vision=VISION[vision](),
        head=HEADS[head](),
        language=LanguageConfig(width=16, layers=1, heads=2),
        grounding=GroundingConfig(points=(("thing", 2),)),
        **{"width": 32, "horizon": 3, **changes},
    )


def total(policy: VLAPolicy, batch: Batch[Tensor]) -> Tensor:
    """Return the sum of the losses per row under one seed."""
    torch.manual_seed(3)
    return torch.stack(list(policy.losses(batch).values())).sum(dim=0)


@pytest.mark.parametrize(("vision", "head"), MATRIX)
def test_losses_have_one_value_per_row_and_reach_every_weight(
    build: Build, batch: Draw, vision: str, head: str
) -> None:
    policy = build(config_of(vision, head))
    losses = policy.losses(batch())
    assert {name: value.shape for name, value in losses.items()} == {"action": (6,), "grounding": (6,)}
    torch.stack(list(losses.values())).sum().backward()
    assert [name for name, value in policy.named_parameters() if value.grad is None] == []


@pytest.mark.parametrize(("vision", "head"), MATRIX)
def test_padded_steps_do_not_change_the_loss(build: Build, batch: Draw, vision: str, head: str) -> None:
    policy, drawn = build(config_of(vision, head)), batch()
    is_pad = drawn.is_pad.clone()
    is_pad[:, 1:] = True
    changed = drawn.actions.clone()
    changed[:, 1:] = 0.0
    losses: list[Tensor] = []
    for actions in (drawn.actions, changed):
        torch.manual_seed(0)
        losses.append(policy.losses(dataclasses.replace(drawn, is_pad=is_pad, actions=actions))["action"])
    assert torch.equal(*losses)


@pytest.mark.parametrize(("vision", "head"), MATRIX)
def test_chunks_are_in_bounds_and_two_valued_where_the_spec_says(
    build: Build, batch: Draw, vision: str, head: str
) -> None:
    policy = build(config_of(vision, head))
    chunk = policy.predict_action_chunk(batch().obs.map(lambda array: array.numpy()))
    assert chunk.shape == (6, 3, 3)
    assert (abs(chunk[..., :2]) <= 0.1 + 1e-7).all()
    assert set(chunk[..., 2].flatten()) <= {0.0, 1.0}


@pytest.mark.parametrize(("vision", "head"), ONCE)
def test_overfits_one_batch(build: Build, batch: Draw, vision: str, head: str) -> None:
    policy, drawn = build(config_of(vision, head)), batch()
    optimiser = torch.optim.AdamW(policy.parameters(), lr=3e-3)
    start = total(policy, drawn).mean().item()
    for step in range(150):
        torch.manual_seed(step)
        loss = torch.stack(list(policy.losses(drawn).values())).sum(dim=0).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert total(policy, drawn).mean().item() < 0.45 * start


@pytest.mark.parametrize(("vision", "head"), MATRIX)
def test_runs_on_the_meta_device(build: Build, batch: Draw, vision: str, head: str) -> None:
    policy = build(config_of(vision, head)).to("meta")
    drawn = batch().map(lambda array: array.to("meta"))
    loss = torch.stack(list(policy.losses(drawn).values())).sum()
    loss.backward()
    assert loss.device.type == "meta"


@pytest.mark.parametrize("vision", OWN)
def test_history_and_two_cameras_are_used(build: Build, batch: Draw, two_cameras: RobotSpec, vision: str) -> None:
    policy = build(config_of(vision, "mlp", history=2), two_cameras)
    drawn = batch(ticks=2, cameras=("left", "right"))
    before = policy.encode(drawn.obs).features.tokens
    for camera in ("left", "right"):
        for tick in range(2):
            images = {name: image.clone() for name, image in drawn.obs.images.items()}
            images[camera][:, tick] = 255 - images[camera][:, tick]
            after = policy.encode(dataclasses.replace(drawn.obs, images=images)).features.tokens
            assert not torch.allclose(before, after)
