"""SmolVLAs of LeRobot small enough for tests: what LeRobot wrote of them, and the weights that it answered with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from filled import fill
from sinew.core.types import Batch, NumpyObservation, Observation

GOLDEN = Path(__file__).parent / "models" / "golden" / "smolvla"
VLM = GOLDEN / "vlm"
"""What stands in for the vision-language model: its config.json and its tokenizer.json."""
POLICIES = sorted(path.name for path in GOLDEN.iterdir() if path != VLM)
TASKS = ("push the red block", "lift it\n", "")
SPEC = {
    "embodiment": "arm",
    "state": [f"joint {number}" for number in range(5)],
    "state_units": ["rad"] * 5,
    "action": ["dx", "dy", "dz", "grip"],
    "action_units": ["m", "m", "m", "1"],
    "low": [-100.0] * 4,
    "high": [100.0] * 4,
    "hz": 30.0,
    "kind": "absolute",
}


def given(place: Path, name: str = "interleaved") -> Path:
    """Return a ``pretrained_model`` with the weights that LeRobot had when it answered, and a spec.json beside it."""
    shutil.copytree(GOLDEN / name, place)
    shapes = json.loads((place / "shapes.json").read_text())
    weights = {key: torch.from_numpy(value) for key, value in fill(shapes).items()}
    save_file(weights, place / "model.safetensors")
    (place / "spec.json").write_text(json.dumps(SPEC))
    return place


def answers(name: str = "interleaved") -> Any:  # noqa: ANN401  (an npz)
    """Return what LeRobot was given and answered."""
    return np.load(GOLDEN / name / "expected.npz")


def seen(expected: Any) -> NumpyObservation:  # noqa: ANN401
    """Return the observations that LeRobot answered."""
    names = [name for name in expected.files if name.startswith("observation.images.")]
    images = {name.removeprefix("observation.images."): expected[name] for name in names}
    return Observation(images, expected["state"], TASKS)


def lesson(expected: Any) -> Batch[Tensor]:  # noqa: ANN401
    """Return the batch that LeRobot computed losses of."""
    actions = torch.from_numpy(expected["action"])
    is_pad = torch.zeros(actions.shape[:2], dtype=torch.bool)
    return Batch(seen(expected).map(torch.as_tensor), actions, is_pad, torch.ones(len(actions)))
