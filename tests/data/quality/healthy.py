"""Episodes in which nothing is wrong, to break one thing at a time in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sinew.core.types import CameraSpec, RobotSpec
from sinew.data.episode import Episode
from sinew.data.quality.findings import Finding
from sinew.data.quality.validate import Report
from sinew.data.store import Store

SPEC = RobotSpec(
    embodiment="arm",
    cameras={"front": CameraSpec(16, 20), "wrist": CameraSpec(12, 12)},
    state=("shoulder", "elbow", "z", "grip"),
    state_units=("rad", "rad", "m", "1"),
    action=("shoulder", "elbow", "grip"),
    action_units=("rad", "rad", "1"),
    low=(-2.0, -2.0, 0.0),
    high=(2.0, 2.0, 1.0),
    hz=10.0,
    kind="absolute",
    binary=("grip",),
)


def healthy(number: int, frames: int = 40, **changes: Any) -> Episode:  # noqa: ANN401
    """Return an episode of a moving arm; no two numbers are alike."""
    rng = np.random.default_rng(number)
    time = np.arange(frames) / 10
    speed, phase = rng.uniform(0.4, 0.9, 2), rng.uniform(0, 6, 2)
    joints = np.sin(speed * time[:, None] + phase) + rng.normal(0, 1e-3, (frames, 2))
    grip = (time > 1.5).astype(float)
    state = np.column_stack([joints, 0.2 + 0.1 * joints[:, 0], grip]).astype(np.float32)
    action = np.column_stack([joints, grip]).astype(np.float32)
    images: dict[str, Any] = {}
    for name, camera in SPEC.cameras.items():
        shape = (frames, 3, camera.height, camera.width)
        images[name] = (rng.integers(0, 30, shape) + np.linspace(20, 180, camera.width)).astype(np.uint8)
    content: dict[str, Any] = {
        "spec": SPEC,
        "images": images,
        "state": state,
        "action": action,
        "executed": action,
        "instruction": ("lift the left one", "drop it")[number % 2],
        "task": ("lift", "drop")[number % 2],
        "success": True,
        "id": f"train/{number}",
    }
    return Episode(**{**content, **changes})


def put(array: Any, where: Any, value: Any) -> Any:  # noqa: ANN401
    """Return a copy of an array with something else in one place."""
    changed = np.array(array)
    changed[where] = value
    return changed


def store_of(path: Path, episodes: Sequence[Episode]) -> Path:
    """Write a store."""
    store = Store.create(path, episodes[0].spec)
    store.append(episodes)
    store.unlock()
    return path


def report_of(findings: Sequence[Finding], **changes: Any) -> Report:  # noqa: ANN401
    """Return a report on three episodes of 40 frames."""
    content: dict[str, Any] = {
        "path": "some/set",
        "format": "hdf5",
        "lengths": (40, 40, 40),
        "findings": tuple(findings),
        "qualities": (1.0, 1.0, 1.0),
        "successes": (True, True, True),
        "idle": ((0, 0), (0, 0), (0, 0)),
    }
    return Report(**{**content, **changes})
