"""What it is worth to keep freed memory: an update of the preset's policy with and without, in turn."""

from __future__ import annotations

import dataclasses
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from rows import Row

from sinew.core.heap import keep_freed_memory
from sinew.core.rundir import RunDir
from sinew.core.types import Cursor
from sinew.data.collect import collect
from sinew.data.store import Store
from sinew.presets import PRESETS
from sinew.run.parts import build_policy, build_recipe

COMMAND = "python benchmarks/engine.py --only heap"
UPDATES = 20
_training: list[Any] = []
"""Of a process: its recipe and the batches that are left."""


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (as every group)
    """Yield CPU time and page faults of an update; who keeps and who gives back are processes of their own."""
    world = PRESETS["tabletop"]("small")
    spawn = multiprocessing.get_context("spawn")
    found: dict[str, list[tuple[float, int]]] = {"kept": [], "plain": []}
    with (
        tempfile.TemporaryDirectory() as name,
        ProcessPoolExecutor(1, spawn) as one,
        ProcessPoolExecutor(1, spawn) as two,
    ):
        few = dataclasses.replace(world.collect, episodes=60)
        place = collect(Path(name) / "store", world.world, few, seed=0).path
        pools = {"kept": one, "plain": two}
        for repeat in range(4 if quick else 8):
            for kind in ("kept", "plain") if repeat % 2 else ("plain", "kept"):
                found[kind].append(pools[kind].submit(block, place, kind == "kept").result())
    pairs = list(zip(found["kept"][1:], found["plain"][1:], strict=True))
    ratios = sorted(kept[0] / plain[0] for kept, plain in pairs)
    middle = statistics.median(ratios)
    each = {
        kind: 1000 * statistics.median(seconds for seconds, _ in some[1:]) / UPDATES for kind, some in found.items()
    }
    note = f"small policy, batches of 64, one thread: {each['kept']:.0f} against {each['plain']:.0f} ms"
    what = "an update with freed memory kept against given back, CPU time"
    low, high = round(ratios[0], 3), round(ratios[-1], 3)
    yield Row(what, round(middle, 3), "x", "<= 1", middle <= 1, len(ratios), low, high, "0", COMMAND, note)
    faults = {kind: statistics.median(count for _, count in some[1:]) / UPDATES for kind, some in found.items()}
    note = f"{faults['plain']:.0f} where it is given back"
    what = "page faults of an update with freed memory kept"
    yield Row(what, round(faults["kept"]), "", n=len(pairs), seeds="0", command=COMMAND, note=note)


def block(place: Path, keep: bool) -> tuple[float, int]:  # noqa: FBT001  (submitted by position)
    """Return CPU seconds and page faults of some updates; the first block of a process builds what trains."""
    if not _training:
        torch.set_num_threads(1)
        if keep:
            keep_freed_memory({})
        whole = PRESETS["tabletop"]("small")
        config = dataclasses.replace(whole, recipe=getattr(whole.recipe, "inner", whole.recipe))
        store = Store.open(place)
        rundir = RunDir(place.parent / str(keep))
        recipe = build_recipe(config, build_policy(config, store), [store], rundir, pool=None, note=print)
        _training.extend([recipe, recipe.batches(Cursor())])
    recipe, batches = _training
    faults, began = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.process_time()
    for _ in range(UPDATES):
        recipe.update(next(batches))
    return time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
