"""SmolVLAs of LeRobot small enough for tests: what LeRobot wrote of them, and the weights that it answered with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from from_lerobot import images, laid
from sinew.core.types import Batch, NumpyObservation, Observation

GOLDEN = Path(__file__).parent / "models" / "golden" / "smolvla"
VLM = GOLDEN / "vlm"
"""What stands in for the vision-language model: its config.json and its tokenizer.json."""
POLICIES = sorted(path.name for path in GOLDEN.iterdir() if path != VLM)
TASKS = ("push the red block", "lift it\n", "")


def given(place: Path, name: str = "interleaved") -> Path:
    """Return a ``pretrained_model`` with the weights that LeRobot had when it answered, and a spec.json beside it."""
    return laid(GOLDEN / name, place)


def answers(name: str = "interleaved") -> Any:  # noqa: ANN401  (an npz)
    """Return what LeRobot was given and answered."""
    return np.load(GOLDEN / name / "expected.npz")


def seen(expected: Any) -> NumpyObservation:  # noqa: ANN401
    """Return the observations that LeRobot answered."""
    return Observation(images(expected), expected["state"], TASKS)


def lesson(expected: Any) -> Batch[Tensor]:  # noqa: ANN401
    """Return the batch that LeRobot computed losses of."""
    actions = torch.from_numpy(expected["action"])
    is_pad = torch.zeros(actions.shape[:2], dtype=torch.bool)
    return Batch(seen(expected).map(torch.as_tensor), actions, is_pad, torch.ones(len(actions)))
