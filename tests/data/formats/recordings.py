"""Small recordings for tests of formats: episodes without labels, and datasets written and damaged by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from sinew.core.types import CameraSpec, RobotSpec
from sinew.data.episode import Episode

GOLDEN = Path(__file__).parent / "golden"
SPEC = RobotSpec(
    embodiment="arm",
    cameras={"front": CameraSpec(16, 20, intrinsics=(20.0, 20.0, 10.0, 8.0)), "wrist": CameraSpec(12, 12)},
    state=("x", "grip"),
    state_units=("m", "1"),
    action=("dx", "grip"),
    action_units=("m", "1"),
    low=(-1.0, 0.0),
    high=(1.0, 1.0),
    hz=12.5,
    kind="delta",
    binary=("grip",),
    gripper_sign=1,
)
COMPLETE = {"kind": "delta", "state_units": ["m", "m", "1"], "action_units": ["m", "m"], "low": "data", "high": "data"}
"""What the golden datasets do not say."""


def smooth_episode(number: int, frames: int | None = None, spec: RobotSpec = SPEC, **changes: Any) -> Episode:  # noqa: ANN401
    """Return an episode whose images survive a film: a ramp with a block that moves two pixels a frame."""
    rng = np.random.default_rng(number)
    frames = 5 + number if frames is None else frames
    action = np.stack([rng.uniform(-1, 1, frames), rng.integers(0, 2, frames)], axis=1).astype(np.float32)
    images: dict[str, Any] = {}
    for name, camera in spec.cameras.items():
        images[name] = np.zeros((frames, 3, camera.height, camera.width), np.uint8)
        images[name][:] = np.linspace(0, 120, camera.width, dtype=np.uint8)
        for tick in range(frames):
            images[name][tick, :, 4:10, 2 * tick % (camera.width - 8) :][..., :8] = 200 - 20 * number
    content: dict[str, Any] = {
        "spec": spec,
        "images": images,
        "state": rng.normal(size=(frames, 2)).astype(np.float32),
        "action": action,
        "executed": action,
        "instruction": ("lift the left one", "drop it")[number % 2],
        "task": ("lift", "drop")[number % 2],
        "success": number != 1,
        "id": f"train/{number}",
    }
    return Episode(**{**content, **changes})


def change_json(path: Path, **changes: Any) -> None:  # noqa: ANN401
    """Put values into a JSON file; None takes a key out."""
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


def change_table(path: Path, change: Callable[[Any], Any]) -> None:
    """Replace a Parquet file by what becomes of its table."""
    table = pq.read_table(path)
    pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), path)


def cut_in_half(path: Path) -> None:
    """Keep the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
