"""Foresees what a run takes by rehearsing it on a copy, and refuses what cannot fit in memory."""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sinew.core.config import from_dict, to_dict
from sinew.core.errors import ConfigError, SinewError
from sinew.core.files import read_json, write_json
from sinew.core.heap import keep_freed_memory
from sinew.core.launch import launched
from sinew.core.machine import free_disk, free_memory, power_limits, process_bytes
from sinew.core.rundir import RunDir
from sinew.core.types import Recipe
from sinew.engine import rng
from sinew.engine.config import CostConfig, LoopConfig, Parallel
from sinew.engine.forecast import Cost, Disk, Forecast, Memory, Stop, Time, size
from sinew.engine.rehearsal import Rehearsal, device_of, rehearse
from sinew.engine.speed import matmul_peak, precision_of

PEAK_S = 0.2
"""That measuring the machine's peak may take."""
SECONDS = 2.0
"""That the timed updates of a rehearsal may take."""
FILE = "preflight.json"
WRITE_RATE = 150e6
"""Bytes a second at which a checkpoint is written, summed up and flushed; a slow disk's."""
HALF = 0.5
"""A part that holds more than this share of the parameters is listed by its own parts."""


@dataclass(frozen=True)
class Waits:
    """What a run takes time for beside its updates.

    Attributes:
        stops: on the way.
        after_s: after the last update [s].
    """

    stops: tuple[Stop, ...] = ()
    after_s: float = 0.0


def foresee(
    build: Callable[[RunDir], Recipe[Any]],
    loop: LoopConfig,
    *,
    waits: Callable[[Recipe[Any], RunDir], Waits],
    cost: CostConfig,
    place: Path,
) -> Forecast:
    """Build a recipe aside, run a few of its updates, drop it, and say what the run will take.

    The run itself is not touched: what is built here has a directory of its own, which is gone afterwards, and the
    random numbers are put back. So it ends with the same bits, whether it was foreseen or not.

    Args:
        build: returns the recipe as the run builds its own, in the directory given.
        loop: how long the run is.
        waits: what else takes time, given the recipe rehearsed and a directory for what is needed meanwhile.
        cost: rates.
        place: where the run is or would be.

    Raises:
        ConfigError: it cannot fit in memory.
    """
    keep_freed_memory()
    available, before = _available(None), process_bytes()
    with rng.kept(), tempfile.TemporaryDirectory(prefix="sinew-preflight-") as scratch:
        rundir = RunDir(Path(scratch))
        recipe = build(rundir)
        device = device_of(recipe)
        available = available if device.type == "cpu" else _available(device)
        parts = tuple(part for name, module in recipe.modules.items() for part in parts_of(name, module))
        found = rehearse(
            recipe, seconds=SECONDS, affordable=lambda taken: taken * 1.5 < _available(device), before=before
        )
        others = waits(recipe, rundir) if found.update_s else Waits()
        peak = matmul_peak(device, precision_of(recipe), seconds=PEAK_S)
        del recipe
        _give_back()
    saves = range(loop.save_every, loop.updates + 1, max(1, loop.save_every))
    stops = [*others.stops, *(Stop(update, found.saved / WRITE_RATE, "checkpoints") for update in saves)]
    return Forecast(
        memory=_memory(found, str(device), available),
        time=Time(
            updates=loop.updates,
            update_s=found.data_s + found.update_s,
            data_s=found.data_s,
            stops=tuple(sorted(stops, key=lambda stop: stop.update)),
            after_s=others.after_s,
        ),
        disk=Disk({"checkpoints": found.saved * (loop.keep + 2)}, free_disk(place)),
        cost=_cost(cost),
        parts=parts,
        flops=found.flops,
        peak_flops=peak,
    )


def of_each(forecast: Forecast, processes: int, parallel: Parallel | None) -> Forecast:
    """Return what each of several processes takes, given what one took that rehearsed its share of a batch by itself.

    What they tell each other takes time that was not measured. Shards are counted as even, and the layers that are
    gathered for a moment not at all.

    Args:
        forecast: of the rehearsal.
        processes: that train.
        parallel: how they share the weights.
    """
    memory = forecast.memory
    weights = processes if parallel in ("fsdp2", "zero3") else 1
    kept = processes if parallel in ("fsdp2", "zero2", "zero3") else 1
    sharing = launched().local_size if memory.device == "cpu" else 1
    memory = dataclasses.replace(
        memory,
        device=f"{memory.device}, each of {processes} processes",
        weights=memory.weights // weights,
        kept=memory.kept // kept,
        rows=memory.rows * processes,  # of the whole batch, as settings count them
        row=memory.row / processes,
        measured_rows=memory.measured_rows * processes,
        available=memory.available // sharing,
    )
    return dataclasses.replace(forecast, memory=memory)


def require_fit(forecast: Forecast, batch_flag: str, *, pieces: int | None = None) -> None:
    """Refuse a run that cannot fit in memory.

    Args:
        forecast: of the run.
        batch_flag: the setting that says how many rows an update has.
        pieces: that batches are cut into now; None where the recipe cuts none.

    Raises:
        ConfigError: with the setting that would fit.
    """
    memory = forecast.memory
    if memory.fits:
        return
    rows = memory.largest_batch
    what = f"--{batch_flag} {rows} fits" if rows else "not even one row fits: a smaller --size, or --optim.ema 0"
    cut = 0 if pieces is None else pieces * memory.pieces
    if 0 < cut <= memory.rows:
        what += f"; so does --optim.accumulate {cut}, which learns the same"
    raise ConfigError(
        f"The run needs {size(memory.needed)} of memory on {memory.device}, and {size(memory.available)} are free: "
        f"weights {size(memory.weights)}, moments and averages {size(memory.kept)}, an update of {memory.rows} rows "
        f"{size(memory.step + 2 * memory.batch)}. It would be ended half-way, so it is not begun; {what}."
    )


def require_states(parameters: int, trainable: int, *, averaged: bool, device: torch.device) -> None:
    """Refuse a model whose weights, gradients, moments and averages alone exceed the memory; before it is built.

    Args:
        parameters: of the model, fp32.
        trainable: those among them with a gradient and two moments.
        averaged: a second copy of all of them is kept.
        device: where it would be.

    Raises:
        ConfigError: with what would fit.
    """
    lean = 4 * (parameters + 3 * trainable)
    needed, available = lean + (4 * parameters if averaged else 0), _available(device)
    if not available or needed <= available:
        return
    advice = "--optim.ema 0 keeps no averages and fits" if lean <= available else "a smaller --size, or frozen parts"
    raise ConfigError(
        f"{parameters:,} parameters, {trainable:,} of them trained, take {size(needed)} with gradients, moments and "
        f"averages before the first row is seen, and {size(available)} are free on {device}. Try: {advice}."
    )


def save(forecast: Forecast, rundir: RunDir) -> None:
    """Keep a forecast with the run."""
    write_json(rundir.path / FILE, to_dict(forecast))


def load(rundir: RunDir) -> Forecast | None:
    """Return the forecast that a run was begun with, None where there is none that can be read."""
    path = rundir.path / FILE
    try:
        return from_dict(Forecast, read_json(path), str(path)) if path.exists() else None
    except SinewError:
        return None  # of another version: it is foreseen again


def parts_of(name: str, module: nn.Module) -> Iterator[tuple[str, int, int]]:
    """Yield name, trainable and frozen parameters of a module, then of its parts, the large ones split once more."""
    total = _counts(module)
    yield name, *total
    for child, part in module.named_children():
        counts = _counts(part)
        children = list(part.named_children())
        if sum(counts) > HALF * sum(total) and len(children) > 1:
            yield from ((f"{name}.{child}.{below}", *_counts(item)) for below, item in children if sum(_counts(item)))
        elif sum(counts):
            yield f"{name}.{child}", *counts


def _counts(module: nn.Module) -> tuple[int, int]:
    every = list(module.parameters())
    trainable = sum(item.numel() for item in every if item.requires_grad)
    return trainable, sum(item.numel() for item in every) - trainable


def _memory(found: Rehearsal, device: str, available: int) -> Memory:
    return Memory(
        device=device,
        runtime=found.runtime if device == "cpu" else 0,
        weights=found.weights,
        kept=found.kept,
        step=found.step,
        batch=found.batch,
        rows=found.rows,
        row=found.row,
        available=available,
        measured_rows=found.tried,
    )


def _cost(config: CostConfig) -> Cost:
    limits = power_limits() if config.watts is None and torch.cuda.is_available() else ()
    watts, source = (sum(limits), "the GPUs' power limits") if limits else (config.watts, "--cost.watts")
    return Cost(
        watts=watts,
        source=source if watts is not None else "",
        per_kwh=config.per_kwh,
        per_hour=config.per_hour,
        currency=config.currency or Cost.currency,
    )


def _available(device: torch.device | None) -> int:
    """Return the free bytes of the memory that a device computes in; 0 when unknown."""
    if device is not None and device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return free_memory() if device is None or device.type == "cpu" else 0


def _give_back() -> None:
    """Return freed memory to the system, so that the run begins with what it had."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:  # glibc alone
        trim(0)
