"""What it is worth to keep freed memory: an update of the preset's policy with and without, in turn."""

from __future__ import annotations

import ctypes
import dataclasses
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from rows import Row

from sinew.core.heap import MMAP_THRESHOLD, TRIM_THRESHOLD, keep_freed_memory
from sinew.core.rundir import RunDir
from sinew.core.types import Cursor
from sinew.data.collect import collect
from sinew.presets import PRESETS
from sinew.run.parts import build_policy, build_recipe

COMMAND = "python benchmarks/engine.py --only heap"
USUAL = 128 << 10
"""glibc's own thresholds before it adapts them [bytes]."""
UPDATES = 20


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (as every group)
    """Yield CPU time and page faults of an update, kept against given back."""
    torch.set_num_threads(1)
    whole = PRESETS["tabletop"]("small")
    config = dataclasses.replace(whole, recipe=getattr(whole.recipe, "inner", whole.recipe))
    with tempfile.TemporaryDirectory() as name:
        few = dataclasses.replace(config.collect, episodes=60)
        store = collect(Path(name) / "store", config.world, few, seed=0)
        recipe = build_recipe(config, build_policy(config, store), [store], RunDir(Path(name)), pool=None, note=print)
        batches = recipe.batches(Cursor())
        seconds: list[tuple[float, float]] = []
        faults: list[tuple[int, int]] = []
        for repeat in range(4 if quick else 8):
            found: dict[str, tuple[float, int]] = {}
            for kind in ("kept", "plain") if repeat % 2 else ("plain", "kept"):
                set_heap(kind)
                found[kind] = block(recipe, batches)
            if repeat:
                seconds.append((found["kept"][0], found["plain"][0]))
                faults.append((found["kept"][1], found["plain"][1]))
    ratios = sorted(kept / plain for kept, plain in seconds)
    middle = statistics.median(ratios)
    each = [1000 * statistics.median(side) / UPDATES for side in zip(*seconds, strict=True)]
    note = f"small policy, batches of 64, one thread: {each[0]:.0f} against {each[1]:.0f} ms"
    what = "an update with freed memory kept against given back, CPU time"
    low, high = round(ratios[0], 3), round(ratios[-1], 3)
    yield Row(what, round(middle, 3), "x", "<= 1", middle <= 1, len(ratios), low, high, "0", COMMAND, note)
    kept, plain = (statistics.median(side) / UPDATES for side in zip(*faults, strict=True))
    what = "page faults of an update with freed memory kept"
    yield Row(
        what, round(kept), "", n=len(faults), seeds="0", command=COMMAND, note=f"{plain:.0f} where it is given back"
    )


def set_heap(kind: str) -> None:
    """Let the C library keep freed memory, or do as it does from the start."""
    if kind == "kept":
        keep_freed_memory({})
        return
    library = ctypes.CDLL(None)
    for name in (MMAP_THRESHOLD, TRIM_THRESHOLD):
        library.mallopt(name, USUAL)


def block(recipe: object, batches: Iterator[object]) -> tuple[float, int]:
    """Return CPU seconds and page faults of some updates, after two."""
    update = recipe.update  # type: ignore[attr-defined]
    for _ in range(2):
        update(next(batches))
    faults, began = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.process_time()
    for _ in range(UPDATES):
        update(next(batches))
    return time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
