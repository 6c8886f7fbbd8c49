"""Where the time of an update goes, and how much of the machine's arithmetic it uses."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from sinew.core.heap import keep_freed_memory
from sinew.core.types import Cursor, Recipe
from sinew.engine.ledger import Ledger
from sinew.engine.rehearsal import counted_tokens, device_of, wait

PHASES = ("data", "forward", "backward", "optimiser")
WARM = 2
LEAST = 3
SIDE = {"cpu": 1024, "cuda": 8192, "mps": 4096}
"""Of the square matrices whose product gives the peak."""
PEAK_S = 0.5


@dataclass(frozen=True)
class Speed:
    """What some updates took on average.

    Attributes:
        device: "cpu" or such as "cuda:0". dtype: that products are computed in. threads: of the CPU.
        updates: measured. rows: of a batch.
        seconds: of an update by phase: making the batch; forward, with augmentation; backward; optimiser, with
            clipping and averages.
        flops: of an update. tokens: of an update, see ``Rehearsal``; 0 without sequences.
        peak_flops: of a second, of a large matrix product on the same device, dtype and threads.
        schema_version: version of this record.
    """

    device: str
    dtype: str
    threads: int
    updates: int
    rows: int
    seconds: Mapping[str, float]
    flops: float
    tokens: int
    peak_flops: float
    schema_version: int = 1

    @property
    def update_s(self) -> float:
        """One update and its batch."""
        return sum(self.seconds.values())

    @property
    def samples_per_s(self) -> float:
        """Rows a second."""
        return self.rows / self.update_s

    @property
    def tokens_per_s(self) -> float:
        """Positions of the longest sequence a second."""
        return self.tokens / self.update_s

    @property
    def mfu(self) -> float:
        """Model FLOPs utilisation (Chowdhery 2022, arXiv:2204.02311), against the measured peak."""
        return self.flops / self.update_s / self.peak_flops

    def shares(self) -> dict[str, float]:
        """Return the share of each phase."""
        return {name: seconds / self.update_s for name, seconds in self.seconds.items()}


@dataclass
class Stopwatch:
    """Splits the time of updates into phases; see ``watching``.

    A stretch of time belongs to what ends it: what ends with backward beginning was forward, what ends with an
    optimiser's step was the optimiser's, and so was what follows the last step.
    """

    device: torch.device
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))
    _since: float = 0.0

    def start(self) -> None:
        """Begin anew, counting nothing."""
        wait(self.device)
        self._since = time.perf_counter()

    def ends(self, phase: str) -> None:
        """Give the time since the last call to a phase."""
        wait(self.device)
        now = time.perf_counter()
        self.seconds[phase] += now - self._since
        self._since = now


def measure(recipe: Recipe[Any], *, seconds: float) -> Speed:
    """Run updates for about that long and return what they took; the recipe has learned afterwards.

    Args:
        recipe: on the device that trains.
        seconds: of measured updates; at least three are run, after two that warm up.
    """
    keep_freed_memory()
    device = device_of(recipe)
    batches = recipe.batches(Cursor(0))
    batch = next(batches)
    recipe.update(batch)
    with counted_tokens() as tokens, Ledger() as ledger:
        recipe.update(batch)
    for _ in range(WARM):
        recipe.update(next(batches))
    watch, count, rows = Stopwatch(device), 0, 0
    until = time.perf_counter() + seconds
    with watching(watch):
        while count < LEAST or time.perf_counter() < until:
            watch.start()
            batch = next(batches)
            watch.ends("data")
            recipe.update(batch)
            watch.ends("optimiser")
            count, rows = count + 1, rows + int(batch.num_rows)
    dtype = precision_of(recipe)
    return Speed(
        device=str(device),
        dtype=str(dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        updates=count,
        rows=round(rows / count),
        seconds={name: spent / count for name, spent in watch.seconds.items()},
        flops=float(ledger.flops),
        tokens=tokens[0],
        peak_flops=matmul_peak(device, dtype),
    )


@contextmanager
def watching(watch: Stopwatch) -> Generator[None]:
    """Tell a stopwatch when backward begins and ends and when an optimiser has stepped, in this block."""
    backward = torch.autograd.backward

    def timed(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401  (as the function it stands in for)
        watch.ends("forward")
        backward(*args, **kwargs)
        watch.ends("backward")

    def stepped(*_: object) -> None:
        watch.ends("optimiser")

    handle = register_optimizer_step_post_hook(stepped)
    torch.autograd.backward = timed  # what Tensor.backward calls; there is no hook for it
    try:
        yield
    finally:
        torch.autograd.backward = backward
        handle.remove()


def precision_of(recipe: Recipe[Any]) -> torch.dtype:
    """Return what a recipe's products are computed in."""
    configs = [getattr(optim, "config", None) for optim in recipe.optims.values()]
    return torch.bfloat16 if any(getattr(config, "precision", None) == "bf16" for config in configs) else torch.float32


def matmul_peak(device: torch.device, dtype: torch.dtype, *, seconds: float = PEAK_S) -> float:
    """Return the operations a second of the fastest of some large matrix products.

    Args:
        device: that multiplies, with as many threads as there are now.
        dtype: of the matrices.
        seconds: that it may take; at least two products are made.
    """
    side = SIDE.get(device.type, SIDE["cpu"])
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out: Tensor = left @ right
    best, count, until = float("inf"), 0, time.perf_counter() + seconds
    while count < 2 or time.perf_counter() < until:
        wait(device)
        began = time.perf_counter()
        torch.mm(left, right, out=out)
        wait(device)
        best, count = min(best, time.perf_counter() - began), count + 1
    return 2 * side**3 / best
