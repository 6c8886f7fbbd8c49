"""An OpenVLA small enough for tests: what it was told, and weights with which it says nothing but actions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch

PROMPT = "In: What action should the robot take to {}?\nOut:"
TASKS = ("Push the red block", "lift it", "")
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
