"""What is lost by kill -9 while training and while a checkpoint is written, and by a disk that is full."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from rows import ROOT, Row
from safetensors.torch import save_file

from sinew.core.errors import SinewError
from sinew.core.rundir import RunDir
from sinew.core.types import Cursor
from sinew.engine.checkpoint import Checkpoints, verify
from sinew.engine.codec import encode
from sinew.engine.config import LoopConfig
from sinew.engine.trainer import Trainer

COMMAND = "python benchmarks/engine.py --only kills"
LOOP = LoopConfig(updates=60, log_every=5, save_every=5, eval_at=())
RUNS, SAVES = 20, 100
LIMITS = (100, 1_000, 4_000, 20_000, 100_000, 500_000, 1_000_000, 2_000_000, 3_000_000, 3_900_000)
"""Sizes at which no file may grow any more [bytes]; a checkpoint's largest file has 4 MB."""


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (as every group)
    """Kill training, kill saving, fill the disk."""
    sys.path.insert(0, str(ROOT / "tests"))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        yield from training_rows(Path(place), 3 if quick else RUNS)
        yield saving_row(Path(place), 10 if quick else SAVES)
        yield full_row(Path(place))


def forked(job: Callable[[], object], kill_after_s: float | None = None) -> int:
    """Run a job in a fork, killed after a while; return its exit status, minus the signal where it was killed."""
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(Exception):
            job()
            status = 0
        os._exit(status)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Noted:
    """A recipe that writes down which samples each update learned from."""

    def __init__(self, recipe: Any, path: Path) -> None:  # noqa: ANN401  (any recipe)
        self.recipe, self.path = recipe, path

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        """Be the recipe in all else."""
        return getattr(self.recipe, name)

    def batches(self, start: Cursor) -> Iterator[Any]:
        """Yield its batches."""
        for update, batch in enumerate(self.recipe.batches(start), start.update):
            with self.path.open("a") as file:
                file.write(f"{update}: {batch.ids.tolist()}\n")
            yield batch


def training_rows(place: Path, runs: int) -> Iterator[Row]:
    """Train behaviour cloning with averaged weights, killed at random moments, up to three times a run."""
    from recipes.line_world import cloning, demonstrations

    store = demonstrations(place / "store", episodes=40)
    draw = random.Random(0)

    def train(path: Path) -> None:
        path.mkdir(exist_ok=True)
        recipe = cloning([store], LOOP.updates)
        noted: Any = Noted(recipe, path / "ids.txt")
        Trainer(noted, LOOP, RunDir(path), seed=0).run()
        tensors, _ = encode(recipe.state_dict())
        content = b"".join(name.encode() + value.numpy().tobytes() for name, value in tensors.items())
        (path / "digest").write_text(hashlib.sha256(content).hexdigest())

    train(place / "warm-up")
    began = time.perf_counter()
    assert forked(lambda: train(place / "straight")) == 0
    whole_s = time.perf_counter() - began
    wanted, kills, same, exact = outcome(place / "straight"), 0, 0, 0
    for number in range(runs):
        path = place / f"killed-{number}"
        for _ in range(3):
            kills += forked(lambda path=path: train(path), draw.uniform(0.05, 0.9) * whole_s) < 0
        assert forked(lambda path=path: train(path)) == 0
        digest, ids = outcome(path)
        same += digest == wanted[0]
        exact += ids == wanted[1]
    what = f"of {runs} runs killed with SIGKILL at {kills} random moments, EMA on"
    bar, enough = f"{runs} of {runs}", (same == runs, exact == runs)
    yield Row(f"every tensor bit-identical, {what}", same, "runs", bar, enough[0], runs, seeds="0", command=COMMAND)
    yield Row(f"the same samples in every update, {what}", exact, "runs", bar, enough[1], runs, command=COMMAND)


def outcome(path: Path) -> tuple[str, list[str]]:
    """Return the digest of all tensors, and the samples that each update finally learned from."""
    last = dict(line.split(": ", 1) for line in (path / "ids.txt").read_text().splitlines() if line.endswith("]"))
    return (path / "digest").read_text(), [last.get(str(update), "") for update in range(LOOP.updates)]


class Weights:
    """A policy of 4 MB."""

    def save_pretrained(self, directory: Path) -> None:
        """Write them."""
        save_file({"w": torch.arange(1_000_000, dtype=torch.float32)}, directory / "model.safetensors")


def save_on(path: Path, count: int) -> None:
    """Write checkpoints one after another."""
    checkpoints = Checkpoints(path)
    first = max(checkpoints.updates, default=0) + 1
    for update in range(first, first + count):
        checkpoints.save(update, Weights(), {"w": torch.full((1_000_000,), float(update))}, best=None)


def last_loads(path: Path) -> bool:
    """Whether ``last`` is whole, and is gone on from."""
    try:
        verify(path / "last")
    except SinewError:
        return False
    found = Checkpoints(path).newest()
    return found is not None and found[0] >= int((path / "last").resolve().name)


def saving_row(place: Path, kills: int) -> Row:
    """Kill a process that does nothing but write checkpoints."""
    path, draw = place / "saving", random.Random(1)
    save_on(path, 2)
    began = time.perf_counter()
    forked(lambda: save_on(path, 4))
    each_s = (time.perf_counter() - began) / 4
    loads = 0
    for _ in range(kills):
        assert forked(lambda: save_on(path, 1000), draw.uniform(0.02, 3 * each_s)) == -signal.SIGKILL
        loads += last_loads(path)
    what = "`last` loads after kill -9 at a random moment of writing checkpoints of 8 MB"
    return Row(what, loads, "kills", f"{kills} of {kills}", loads == kills, kills, seeds="1", command=COMMAND)


def full_row(place: Path) -> Row:
    """Let files grow to some size only, as on a full disk."""
    path, loads = place / "full", 0
    save_on(path, 1)

    def save(limit: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        with contextlib.suppress(SinewError):
            save_on(path, 1)
            os._exit(7)  # it was written after all
        os._exit(0)

    for limit in LIMITS:
        clear = forked(lambda limit=limit: save(limit)) == 0
        loads += clear and last_loads(path) and not list(path.glob(".*"))
    shutil.rmtree(path)
    what = "`last` loads, and the error is one of ours, after the disk was full at a point of writing"
    return Row(
        what, loads, "points", f"{len(LIMITS)} of {len(LIMITS)}", loads == len(LIMITS), len(LIMITS), command=COMMAND
    )
