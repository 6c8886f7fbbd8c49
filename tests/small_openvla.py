"""An OpenVLA small enough for tests: what it was told, and weights with which it says nothing but actions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch

from filled import fill

PROMPT = "In: What action should the robot take to {}?\nOut:"
TASKS = ("Push the red block", "lift it", "")
WIDTHS = (16, 24)
"""Of its towers, whose heads the published widths do not tell."""
ACTIONS = slice(31744, 32000)
"""Ids of the words that mean actions."""
W = TypeVar("W", bound=Mapping[str, torch.Tensor])


def only_actions(weights: W) -> W:
    """Return weights by which no other word is ever likeliest: random ones would say anything."""
    head = weights["language_model.lm_head.weight"]
    kept = head[ACTIONS].clone()
    head.zero_()
    head[ACTIONS] = 3 * kept
    return weights


GOLDEN = Path(__file__).parent / "models" / "golden" / "openvla"
NAMES = ["x", "y", "z", "roll", "pitch", "yaw", "grip"]
SPEC = {
    "embodiment": "widowx",
    "state": [],
    "state_units": [],
    "action": NAMES,
    "action_units": ["m"] * 3 + ["rad"] * 3 + ["1"],
    "low": "data",
    "high": "data",
    "hz": 5.0,
    "kind": "delta",
}


def given(place: Path) -> Path:
    """Return the directory with the weights that OpenVLA had when it answered, in two shards, and a spec.json."""
    from safetensors.torch import save_file

    shutil.copytree(GOLDEN, place)
    shapes = json.loads((place / "shapes.json").read_text())
    weights = only_actions({name: torch.from_numpy(value) for name, value in fill(shapes).items()})
    names = sorted(weights)
    for number, part in enumerate((names[::2], names[1::2]), 1):
        save_file({name: weights[name] for name in part}, place / f"model-0000{number}-of-00002.safetensors")
    (place / "spec.json").write_text(json.dumps(SPEC))
    return place
