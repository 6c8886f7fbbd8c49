"""Episodes of the line world with random content, for tests of stores and windows."""

from __future__ import annotations

from typing import Any

import numpy as np

from sinew.data.episode import Episode
from toy import ToyConfig

SPEC = ToyConfig(size=4).spec


def random_episode(number: int, frames: int = 3, **changes: Any) -> Episode:  # noqa: ANN401
    """Return an episode whose content follows from its number; state[:, 0] is 1000 number + tick."""
    rng = np.random.default_rng(number)
    low, high = np.asarray(SPEC.low), np.asarray(SPEC.high)
    action = rng.uniform(low, high, (frames, 2))
    action[:, 1] = action[:, 1].round()
    content: dict[str, Any] = {
        "spec": SPEC,
        "images": {"front": rng.integers(0, 256, (frames, 3, 4, 4), dtype=np.uint8)},
        "state": np.stack([1000 * number + np.arange(frames), rng.normal(size=frames)], axis=1).astype(np.float32),
        "action": action.astype(np.float32),
        "executed": rng.uniform(low, high, (frames, 2)).astype(np.float32),
        "instruction": f"go {number}",
        "task": ("left", "right")[number % 2],
        "success": bool(number % 3),
        "targets": {"goal": rng.normal(size=(frames, 1)).astype(np.float32)},
        "source": "random",
        "id": f"train/{number}",
    }
    return Episode(**{**content, **changes})
