"""Small policies of every head on the line world's robot, and what they see."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from sinew.core.types import NumpyObservation, RobotSpec, Statistics
from sinew.models.config import HEADS, FilmVisionConfig, GroundingConfig, LanguageConfig, PolicyConfig
from sinew.models.language import train_tokenizer
from sinew.models.policy import VLAPolicy
from toy import ToyConfig

SIZE = 8
SMALL = PolicyConfig(
    vision=FilmVisionConfig(channels=(4, 6, 6)),
    language=LanguageConfig(width=8, layers=0, heads=2),
    grounding=GroundingConfig(points=(("goal", 1),)),
    width=16,
    horizon=3,
    execute=2,
    history=2,
)


Export = Callable[[str], tuple[VLAPolicy, Path]]
"""The fixture ``exported``: from the name of a head to a policy and its artefact."""


def tiny_policy(head: str = "mlp", *, spec: RobotSpec | None = None, **changes: object) -> VLAPolicy:
    """Return a seeded policy in evaluation mode, with the head of that name."""
    torch.manual_seed(3)
    config = dataclasses.replace(SMALL, head=HEADS[head](), **changes)  # type: ignore[arg-type]
    policy = VLAPolicy(config, spec or ToyConfig(size=SIZE).spec, train_tokenizer(["go left", "go right"]))
    targets = {f"targets.{name}": spread(size, 0.2) for name, size in config.grounding.points}
    policy.fit_normalizer({"state": spread(2, 0.1), "action": spread(2, 0.05), **targets})
    return policy.eval()


def spread(size: int, middle: float) -> Statistics:
    """Return statistics around ``middle``."""
    one = np.ones(size, dtype=np.float32)
    return Statistics(middle * one, 0.4 * one, -one, one, -one, one, 10)


def look(rows: int) -> NumpyObservation:
    """Return what B rows see at one tick (T = 1), the same every time."""
    random = np.random.default_rng(rows)
    words = ("go left", "go right", "", "Go   LEFT unheard")
    return NumpyObservation(
        images={"front": random.integers(0, 256, (rows, 1, 3, SIZE, SIZE), dtype=np.uint8)},
        state=random.normal(size=(rows, 1, 2)).astype(np.float32),
        instruction=tuple(words[row % 4] for row in range(rows)),
    )


def save_run(path: Path) -> Path:
    """Write a policy where a run keeps its last checkpoint, and return the run's directory."""
    last = path / "checkpoints" / "last"
    last.mkdir(parents=True)
    tiny_policy().save_pretrained(last)
    return path
