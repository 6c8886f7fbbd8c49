"""Policies that LeRobot wrote: put where a test can read and change them, and what LeRobot was given."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from filled import fill
from sinew.core.types import Batch, NumpyObservation, Observation

CAMERA = "observation.images."
TASKS = ("push the red block", "lift it\n", "")
"""What policies that hear words were told."""
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


def laid(golden: Path, place: Path) -> Path:
    """Return a ``pretrained_model`` with the weights that LeRobot had when it answered, and a spec.json beside it."""
    shutil.copytree(golden, place)
    shapes = json.loads((place / "shapes.json").read_text())
    weights = {key: torch.from_numpy(value) for key, value in fill(shapes).items()}
    save_file(weights, place / "model.safetensors")
    (place / "spec.json").write_text(json.dumps(SPEC))
    return place


def images(expected: Any) -> dict[str, NDArray[Any]]:  # noqa: ANN401  (an npz)
    """Return what the cameras saw when LeRobot answered."""
    return {name.removeprefix(CAMERA): expected[name] for name in expected.files if name.startswith(CAMERA)}


def edit(place: Path, **changed: object) -> Path:
    """Write other settings into a config.json."""
    content = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(content | changed))
    return place


def seen(expected: Any) -> NumpyObservation:  # noqa: ANN401
    """Return the observations that a policy of LeRobot's that hears words answered."""
    return Observation(images(expected), expected["state"], TASKS)


def lesson(expected: Any) -> Batch[Tensor]:  # noqa: ANN401
    """Return the batch that LeRobot computed losses of."""
    actions = torch.from_numpy(expected["action"])
    is_pad = torch.zeros(actions.shape[:2], dtype=torch.bool)
    return Batch(seen(expected).map(torch.as_tensor), actions, is_pad, torch.ones(len(actions)))
