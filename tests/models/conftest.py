"""Small policies and batches for the model tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from sinew.core.types import Batch, CameraSpec, Observation, RobotSpec, Statistics
from sinew.models.config import GroundingConfig, LanguageConfig, PolicyConfig
from sinew.models.language import train_tokenizer
from sinew.models.policy import VLAPolicy

SPEC = RobotSpec(
    embodiment="arm",
    cameras={"front": CameraSpec(16, 16)},
    state=("x", "y"),
    state_units=("m", "m"),
    action=("dx", "dy", "grip"),
    action_units=("m", "m", "1"),
    low=(-0.1, -0.1, 0.0),
    high=(0.1, 0.1, 1.0),
    hz=10.0,
    kind="delta",
    binary=("grip",),
    gripper_sign=1,
)
SMALL = PolicyConfig(
    language=LanguageConfig(width=16, layers=1, heads=2),
    grounding=GroundingConfig(points=(("thing", 2),)),
    width=32,
    horizon=3,
)


def statistics(size: int) -> Statistics:
    """Statistics of values between -1 and 1."""
    one = np.ones(size, dtype=np.float32)
    return Statistics(0.1 * one, 0.5 * one, -one, one, -one, one, 10)


@pytest.fixture
def build() -> Callable[..., VLAPolicy]:
    """Return a function that builds a seeded, normalised policy for a config and a spec."""

    def make(config: PolicyConfig = SMALL, spec: RobotSpec = SPEC) -> VLAPolicy:
        torch.manual_seed(0)
        policy = VLAPolicy(config, spec, train_tokenizer(["go to the left thing", "touch the right thing"]))
        targets = {f"targets.{name}": statistics(size) for name, size in config.grounding.points}
        policy.fit_normalizer({"state": statistics(2), "action": statistics(3), **targets})
        return policy

    return make


@pytest.fixture
def batch() -> Callable[..., Batch[Tensor]]:
    """Return a function that draws a seeded batch."""

    def draw(rows: int = 6, ticks: int = 1, horizon: int = 3, cameras: tuple[str, ...] = ("front",)) -> Batch[Tensor]:
        random = torch.Generator().manual_seed(1)
        images = {
            name: torch.randint(0, 256, (rows, ticks, 3, 16, 16), dtype=torch.uint8, generator=random)
            for name in cameras
        }
        words = ("go to the left thing", "touch the right thing", "")
        obs = Observation(
            images, torch.randn(rows, ticks, 2, generator=random), tuple(words[row % 3] for row in range(rows))
        )
        actions = 0.1 * torch.rand(rows, horizon, 3, generator=random) - 0.05
        actions[..., 2] = (torch.rand(rows, horizon, generator=random) > 0.5).float()
        thing = torch.randn(rows, 2, generator=random)
        return Batch(obs, actions, torch.zeros(rows, horizon, dtype=torch.bool), torch.ones(rows), {"thing": thing})

    return draw


@pytest.fixture
def two_cameras() -> RobotSpec:
    """Return the spec with two cameras."""
    return dataclasses.replace(SPEC, cameras={"left": CameraSpec(16, 16), "right": CameraSpec(16, 16)})
