"""Records of runs made up for tests: a healthy one, and the same with columns changed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

ROWS = 40
PARTS = ("vision", "language", "head")
TASKS = ("push", "lift", "pour")


def healthy(rows: int = ROWS) -> list[dict[str, Any]]:
    """Return what a good run of 50 updates a row leaves: a falling loss, three try-outs, nothing odd."""
    random = np.random.default_rng(0)
    found: list[dict[str, Any]] = []
    for number in range(1, rows + 1):
        done = number / rows
        row: dict[str, Any] = {
            "update": 50 * number,
            "loss": (0.2 + 2 * math.exp(-3 * done)) * (1 + 0.03 * random.normal()),
            "grad_norm": 1.2 + 0.1 * random.normal(),
            "lr": 1e-3 * (1 + math.cos(math.pi * done)) / 2,
            "skipped": 0,
            "elapsed_s": 60.0 * number,
            "data_share": 0.04,
            "device_share": 0.01,
        }
        row |= {f"grad_rms/{part}": 1e-3 * (1 + 0.1 * random.normal()) for part in PARTS}
        row |= {f"share/{task}": 1 / len(TASKS) for task in TASKS}
        found.append(row)
        if number % (rows // 4) == 0:
            found.append(tried(50 * number, done))
    return found


def tried(update: int, done: float) -> dict[str, Any]:
    """Return the row of a try-out of 60 episodes."""
    measured = {"probe/spread": 0.8, "probe/jitter": 1.2, "probe/look": 0.5, "probe/listen": 0.3}
    errors = {"error/training": 0.1 - 0.05 * done, "error/held_out": 0.11 - 0.05 * done}
    scores = {f"score/{task}": 0.3 + 0.6 * done for task in TASKS} | {f"task_error/{task}": 0.05 for task in TASKS}
    return {"update": update, "score": 0.3 + 0.6 * done, "trials": 60, **scores, **errors, **measured}


def changed(**columns: Callable[[float], float]) -> list[dict[str, Any]]:
    """Return the healthy record with columns replaced; each is given the share of the run, 0 .. 1.

    Two underscores stand for the stroke in a column's name.
    """
    rows, length = healthy(), 50 * ROWS
    for name, value in columns.items():
        key = name.replace("__", "/")
        for row in rows:
            if key in row or (key.startswith("return") and "loss" in row):
                row[key] = value(row["update"] / length)
    return rows
