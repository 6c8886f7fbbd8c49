"""SmolVLAs of LeRobot small enough for tests: what LeRobot wrote of them, and the weights that it answered with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from from_lerobot import laid

GOLDEN = Path(__file__).parent / "models" / "golden" / "smolvla"
VLM = GOLDEN / "vlm"
"""What stands in for the vision-language model: its config.json and its tokenizer.json."""
POLICIES = sorted(path.name for path in GOLDEN.iterdir() if path != VLM)


def given(place: Path, name: str = "interleaved") -> Path:
    """Return a ``pretrained_model`` with the weights that LeRobot had when it answered, and a spec.json beside it."""
    return laid(GOLDEN / name, place)


def answers(name: str = "interleaved") -> Any:  # noqa: ANN401  (an npz)
    """Return what LeRobot was given and answered."""
    return np.load(GOLDEN / name / "expected.npz")
