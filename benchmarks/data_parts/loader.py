"""Measures loaders: samples per CPU-second against lerobot's own, interleaved, and the loader's share of a step.

Both read the same films that lerobot wrote, draw the same frames, and hand out the same: one image as float32 in
0 .. 1, the state and 16 actions with their padding, 32 rows at a time, in one process. lerobot has an environment of
its own, see tests/parity/run.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rows import ROOT, Row
from torch.utils.data import DataLoader

from sinew.core.types import NumpyBatch
from sinew.data.collect import collect
from sinew.data.config import AugmentConfig, IngestConfig
from sinew.data.formats.ingest import open_dataset
from sinew.data.sampler import epoch_frames
from sinew.data.store import Store
from sinew.data.windows import Windows
from sinew.presets import PRESETS
from sinew.recipes.bc import BehaviourCloning, to_device
from sinew.run.parts import build_policy

COMMAND = "python benchmarks/data.py --only loader"
BATCH, HORIZON, ROUNDS, THEIRS = 32, 16, 7, 5
"""Rows, actions, rounds, and batches that lerobot loads in each of them."""
SETS = {(96, "h264"): (20, 50), (224, "h264"): (6, 50), (96, "libsvtav1"): (20, 50)}
"""Episodes and frames in each, by size [px] and codec."""
FILMS = ROOT / "runs" / "data" / "lerobot_films"
"""Where the films are kept that lerobot wrote, as that takes it minutes."""
WAYS: dict[str, tuple[IngestConfig, int, dict[int, float]]] = {
    "memory map": (IngestConfig(held_out=0.0), 100, {96: 50, 224: 10}),
    "JPEG": (IngestConfig(held_out=0.0, raw_gb=0), 20, {96: 15, 224: 5}),
    "films, no copy": (IngestConfig(held_out=0.0, films=True), 20, {96: 5, 224: 2.5}),
}
"""How images are kept: settings, our batches a round, and the bar by size."""
Frames = list[list[int]]


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (the signature that all parts share)
    """Yield one row a bar."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        yield from ratio_rows(Path(place), sets=list(SETS)[:2] if quick else list(SETS))
        yield from share_rows(Path(place))


def ratio_rows(place: Path, sets: list[tuple[int, str]]) -> Iterator[Row]:
    """Yield how much faster ours is, and what the way there costs."""
    environment = Path(os.environ.get("PARITY_VENVS", ROOT / ".venv" / "parity")) / "lerobot" / "made-from"
    if not environment.exists():
        for size, codec in sets:
            for way in WAYS:
                note = "lerobot's environment is not made yet; tests/parity/run lerobot makes it"
                yield Row(f"{way} against lerobot, {size} px {codec}", None, "x", command=COMMAND, note=note)
        return
    with lerobot() as ask:
        for size, codec in sets:
            root = FILMS / f"{codec}-{size}"
            episodes, length = SETS[size, codec]
            if not (root / "spec.json").exists():
                shutil.rmtree(root, ignore_errors=True)
                ask(do="write", root=str(root), size=size, codec=codec, episodes=episodes, length=length)
                complete_spec(root)
            yield from one_set(root, place / root.name, size, codec, ask)


@contextmanager
def lerobot() -> Generator[Callable[..., Any]]:
    """Yield what asks lerobot's process and returns its answer."""
    process = subprocess.Popen(
        [str(ROOT / "tests" / "parity" / "run"), "lerobot"],
        env={**os.environ, "PYTHON": sys.executable, "LOADER": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    say, hear = process.stdin, process.stdout

    def ask(**words: Any) -> Any:  # noqa: ANN401  (JSON values)
        say.write(json.dumps(words) + "\n")
        say.flush()
        answer = next((line for line in hear if line.startswith("=")), None)
        if answer is None:
            raise RuntimeError(
                f"lerobot ended while it was asked to {words['do']}; run LOADER=1 tests/parity/run lerobot"
            )
        return json.loads(answer[1:])

    try:
        yield ask
    finally:
        say.close()
        process.wait()


def one_set(root: Path, place: Path, size: int, codec: str, ask: Callable[..., Any]) -> Iterator[Row]:
    """Yield the rows of one data set."""
    stores = {way: ingest(root, place, way) for way in WAYS}
    count = next(iter(stores.values()))[0].num_frames
    same = {way: differences(store, root, draw(count, 1, 0), ask) for way, (store, _) in stores.items()}
    rates: dict[str, list[float]] = {way: [] for way in ("lerobot", *WAYS)}
    for number in range(-1, ROUNDS):  # the first one warms up
        samples, seconds = ask(do="timed", root=str(root), frames=draw(count, THEIRS, number + 1))
        found = {"lerobot": samples / seconds}
        found |= {way: rate(store, draw(count, WAYS[way][1], number + 1)) for way, (store, _) in stores.items()}
        for way, value in found.items() if number >= 0 else ():
            rates[way].append(value)
    theirs = median(rates["lerobot"])
    yield Row(f"lerobot 0.4.4, {size} px {codec}", round(theirs), "samples/CPU-s", n=ROUNDS, command=COMMAND)
    for way, (store, seconds) in stores.items():
        ratios = sorted(ours / other for ours, other in zip(rates[way], rates["lerobot"], strict=True))
        bar = WAYS[way][2][size] if codec == "h264" else None
        value = median(ratios)
        yield Row(
            f"{way} against lerobot, {size} px {codec}",
            round(value, 1),
            "x",
            bar="" if bar is None else f">= {bar:g}",
            ok=None if bar is None else value >= bar,
            n=ROUNDS,
            low=round(ratios[0], 1),
            high=round(ratios[-1], 1),
            command=COMMAND,
            note=f"{median(rates[way]):.0f} samples/CPU-s; {same[way]}",
        )
        cost = 1e3 * seconds / store.num_frames
        size_kib = sum(file.stat().st_size for file in store.path.glob("images.*")) / store.num_frames / 1024
        note = f"{size_kib:.2f} KiB a frame"
        yield Row(
            f"reading in once: {way}, {size} px {codec}", round(cost, 2), "CPU-ms/frame", command=COMMAND, note=note
        )


def complete_spec(root: Path) -> None:
    """Write what the data do not say of their robot."""
    spec = {"kind": "delta", "state_units": ["1"] * 7, "action_units": ["1"] * 7, "low": [-1.0] * 7, "high": [1.0] * 7}
    (root / "spec.json").write_text(json.dumps(spec))


def ingest(root: Path, place: Path, way: str) -> tuple[Store, float]:
    """Return a store and the CPU time that reading in took [s]."""
    start = time.process_time()
    store = open_dataset(root, into=place, config=WAYS[way][0])
    return store, time.process_time() - start


def draw(num_frames: int, batches: int, seed: int) -> Frames:
    """Return batches of frame numbers."""
    return np.random.default_rng(seed).integers(0, num_frames, (batches, BATCH)).tolist()


def collate(batch: NumpyBatch) -> dict[str, torch.Tensor]:
    """Return what lerobot's loader returns."""
    image = torch.from_numpy(batch.obs.images["front"][:, 0]).to(torch.float32).div_(255)
    arrays = {"state": batch.obs.state[:, 0], "action": batch.actions, "is_pad": batch.is_pad}
    return {"image": image, **{name: torch.from_numpy(array) for name, array in arrays.items()}}


def batches_of(store: Store, frames: Frames) -> Any:  # noqa: ANN401  (an untyped iterable)
    """Return our loader."""
    windows = Windows([store], history=1, horizon=HORIZON)
    return DataLoader(windows, batch_sampler=frames, collate_fn=collate, num_workers=0)


def rate(store: Store, frames: Frames) -> float:
    """Return our samples per CPU-second."""
    loader = batches_of(store, frames)
    start = time.process_time()
    count = sum(len(batch["action"]) for batch in loader)
    return count / (time.process_time() - start)


def differences(store: Store, root: Path, frames: Frames, ask: Callable[..., Any]) -> str:
    """Return in words how far a batch of ours is from lerobot's; numbers must be equal."""
    out = store.path.parent / "theirs.npz"
    ask(do="show", root=str(root), frames=frames, out=str(out))
    theirs: dict[str, NDArray[Any]] = dict(np.load(out))
    ours = next(iter(batches_of(store, frames)))
    for name in ("state", "action", "is_pad"):
        if not np.array_equal(ours[name].numpy(), theirs[name]):
            raise RuntimeError(f"{root}: {name} differs from what lerobot loads")
    apart = 255 * np.abs(ours["image"].numpy() - theirs["image"])
    return f"numbers equal, images within {apart.max():.0f} of 255 (mean {apart.mean():.2f})"


def share_rows(place: Path) -> Iterator[Row]:
    """Yield which part of a training step goes into loading, without workers and without augmentation."""
    config = PRESETS["tabletop"]("small")
    store = collect(place / "tabletop", config.env, dataclasses.replace(config.collect, episodes=60), seed=0)
    plain = dataclasses.replace(config.recipe.inner, augment=AugmentConfig(0.0, 0.0))
    windows = Windows([store], history=config.policy.history, horizon=config.policy.horizon)
    recipe = BehaviourCloning(build_policy(config, store), windows, plain, config.optim, updates=10_000, seed=0)
    augmenting = BehaviourCloning(
        build_policy(config, store), windows, config.recipe.inner, config.optim, updates=10_000, seed=0
    )
    shares: list[float] = []
    augment: list[float] = []
    for update in range(60):
        start = time.process_time()
        frames = epoch_frames(update, seed=0, batch=plain.batch, segments=[(0, windows.num_frames)])
        batch = to_device(windows.gather(frames), torch.device("cpu"))
        loaded = time.process_time()
        recipe.update(batch)
        done = time.process_time()
        augmenting.augmented(batch)
        if update >= 4:
            shares.append(100 * (loaded - start) / (done - start))
            augment.append(100 * (time.process_time() - done) / (done - start))
    share = median(shares)
    note = f"batch {plain.batch}, size small, one thread; median over updates"
    yield Row(
        "loader's share of a tabletop training step",
        round(share, 2),
        "%",
        bar="<= 3",
        ok=share <= 3,
        n=len(shares),
        low=round(float(np.quantile(shares, 0.05)), 2),
        high=round(float(np.quantile(shares, 0.95)), 2),
        command=COMMAND,
        note=note,
    )
    yield Row("augmentation beside it", round(median(augment), 2), "%", n=len(augment), command=COMMAND, note=note)
