"""Measures mixtures: how true the draws are to their chances, exact epochs, resuming, and what drawing costs."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rows import Row

from sinew.core.types import CameraSpec, RobotSpec
from sinew.data.draws import Draws, Plan
from sinew.data.episode import Episode
from sinew.data.mixture import Mixture, Part
from sinew.data.store import Store
from sinew.data.windows import Windows

COMMAND = "python benchmarks/data.py --only mixing"
FRAMES, BATCH = (500_000, 20_000, 1_500, 120), 64
SPEC = RobotSpec(
    embodiment="arm",
    cameras={"front": CameraSpec(96, 96)},
    state=("x", "y"),
    state_units=("m", "m"),
    action=("dx", "dy"),
    action_units=("m", "m"),
    low=(-1.0, -1.0),
    high=(1.0, 1.0),
    hz=10.0,
    kind="delta",
)


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (the signature that all parts share)
    """Yield one row a bar."""
    updates = 5_000 if quick else 20_000
    for temperature in (1.0, 2.0, 5.0, math.inf):
        yield frequency_row(temperature, updates)
    yield epoch_row()
    yield resume_row()
    yield far_row()
    yield gather_row(rounds=7 if quick else 15)


def plan(**changes: object) -> Plan:
    """Return a mixture of four sources of very different size."""
    base = Plan(FRAMES, (1.0,) * len(FRAMES), updates=20_000, batch=BATCH)
    return replace(base, **changes)


def frequency_row(temperature: float, updates: int) -> Row:
    """Return how far the number of rows of any source is from its chance, in sigma of independent draws."""
    drawn = Draws(plan(temperature=temperature)).drawn(updates)
    sizes = np.asarray(FRAMES, dtype=float) ** (0 if temperature == math.inf else 1 / temperature)
    chance, total = sizes / sizes.sum(), updates * BATCH
    sigma = float((np.abs(drawn - total * chance) / np.sqrt(total * chance * (1 - chance))).max())
    return Row(
        f"temperature sampling, T = {temperature:g}: largest deviation of a source's frequency",
        round(sigma, 3),
        "sigma",
        bar="<= 3 sigma",
        ok=sigma <= 3,
        n=total,
        seeds="0",
        command=COMMAND,
        note=f"frames {list(FRAMES)}, drawn {drawn.tolist()}",
    )


def epoch_row() -> Row:
    """Return the largest difference in how often two frames of one source are seen."""
    draws = Draws(plan(frames=(3000, 700, 90), weights=(1, 2, 5), temperature=2.0))
    pairs = [draws.rows(update) for update in range(1500)]
    spread = 0
    for source, size in enumerate((3000, 700, 90)):
        times = np.bincount(np.concatenate([frames[which == source] for which, frames in pairs]), minlength=size)
        spread = max(spread, int(times.max() - times.min()))
    return Row(
        "difference in how often two frames of one source are seen",
        spread,
        "times",
        bar="<= 1",
        ok=spread <= 1,
        n=1500 * BATCH,
        command=COMMAND,
    )


def resume_row() -> Row:
    """Return how many updates differ when a run with changed weights is begun anew from its state."""
    whole = Draws(plan(temperature=3.0))
    for update in (1000, 4000):
        whole.told(update, (1.0, 0.5, 2.0, 1.0))
    wrong, trials = 0, 200
    for update in np.random.default_rng(0).integers(0, 20_000, trials).tolist():
        resumed = Draws(plan(temperature=3.0))
        resumed.load_state_dict(whole.state_dict())
        wrong += any((one != two).any() for one, two in zip(whole.rows(update), resumed.rows(update), strict=True))
    return Row(
        "updates drawn otherwise after resuming at a random place",
        wrong,
        "",
        bar="0",
        ok=wrong == 0,
        n=trials,
        command=COMMAND,
    )


def far_row() -> Row:
    """Return what drawing an update costs, far into a run, without gathering."""
    draws, count = Draws(plan(updates=1_000_000)), 300
    begun = time.process_time()
    draws.rows(900_000)
    first = time.process_time() - begun
    begun = time.process_time()
    for update in range(900_001, 900_001 + count):
        draws.rows(update)
    each = 1e3 * (time.process_time() - begun) / count
    return Row(
        "drawing an update of 64 rows from four sources",
        round(each, 3),
        "CPU-ms",
        n=count,
        command=COMMAND,
        note=f"the first one at update 900,000 takes {first:.2f} CPU-s: what came before is counted once",
    )


def gather_row(rounds: int) -> Row:
    """Return the CPU time of gathering from a mixture of three sources, over that of one store with all of it."""
    with tempfile.TemporaryDirectory() as place:
        parts = [store_of(Path(place) / str(number), number, episodes=8) for number in range(3)]
        cut = {"history": 1, "horizon": 16}
        whole = Windows(parts, **cut)
        mixture = Mixture([Part(str(number), Windows([store], **cut)) for number, store in enumerate(parts)])
        frames = [np.random.default_rng(number).integers(0, whole.num_frames, BATCH) for number in range(20)]
        ratios = [gather_s(mixture, frames) / gather_s(whole, frames) for _ in range(rounds)]
    return Row(
        "gathering 64 windows of 96 px from a mixture of three, over the same from plain windows",
        round(float(np.median(ratios)), 2),
        "x",
        n=rounds,
        low=round(min(ratios), 2),
        high=round(max(ratios), 2),
        command=COMMAND,
        note="CPU time, taking turns",
    )


def gather_s(source: Mixture | Windows, batches: list[NDArray[np.int64]]) -> float:
    """Return the CPU time of gathering some batches [s]."""
    begun = time.process_time()
    for frames in batches:
        source.gather(frames)
    return time.process_time() - begun


def store_of(path: Path, number: int, *, episodes: int) -> Store:
    """Return a store of noise."""
    store, random = Store.create(path, SPEC), np.random.default_rng(number)
    for count in range(episodes):
        action = random.uniform(-1, 1, (100, 2)).astype(np.float32)
        store.append(
            [
                Episode(
                    spec=SPEC,
                    images={"front": random.integers(0, 256, (100, 3, 96, 96), dtype=np.uint8)},
                    state=action,
                    action=action,
                    executed=action,
                    instruction="go",
                    task="go",
                    success=True,
                    id=str(count),
                )
            ]
        )
    store.unlock()
    return store
