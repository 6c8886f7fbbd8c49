"""A few real updates of a recipe that is thrown away afterwards: what one takes in time, memory and operations."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sinew.core.machine import process_bytes
from sinew.core.types import Cursor, Recipe, map_arrays
from sinew.engine.codec import num_bytes
from sinew.engine.ledger import Ledger, storage_bytes

LEAST, MOST = 2, 12
"""Updates that are timed, as far as the time given allows."""
FIRST = 8
"""Rows of the smallest update: an eighth of the batch, but no fewer."""


@dataclass(frozen=True)
class Rehearsal:
    """What was measured; bytes, seconds and counts are of one update of a full batch.

    Attributes:
        rows: of a batch. tried: most rows of an update that was run.
        runtime: of libraries and compiled kernels. weights: of the modules.
        kept: of what the optimisers and averages hold on to.
        step: of the tensors of an update. row: what one more row adds.
        batch: of a batch. flops: operations. calls: of operators.
        tokens: positions of the longest sequence that any layer works on, all rows together; 0 without one.
        data_s: making the batch. update_s: the update; 0 where a full one was not tried.
        timed: updates that were timed.
        saved: of a checkpoint.
    """

    rows: int
    tried: int
    runtime: int
    weights: int
    kept: int
    step: int
    row: float
    batch: int
    flops: float
    calls: int
    tokens: int
    data_s: float
    update_s: float
    timed: int
    saved: int


@dataclass(frozen=True)
class _Account:
    """One update in the ledger."""

    rows: int
    peak: int
    flops: float
    calls: int
    tokens: int


def rehearse(recipe: Recipe[Any], *, seconds: float, affordable: Callable[[int], bool], before: int = 0) -> Rehearsal:
    """Run some updates, small ones first, and measure them. The recipe has learned a little afterwards: drop it.

    Args:
        recipe: built as the run builds its own, on the device that trains; never the run's own.
        seconds: that the timed updates may take; at least two are run.
        affordable: whether an update whose tensors take that many bytes may be tried.
        before: bytes that the process held before the recipe was built; 0 for those that it holds now.
    """
    held = before or process_bytes()
    batches = recipe.batches(Cursor(0))
    began = time.perf_counter()
    batch = next(batches)
    data_s = time.perf_counter() - began
    rows = int(batch.num_rows)
    small = min(rows, max(FIRST, rows // 8))
    recipe.update(first_rows(batch, small))  # brings in kernels, and the optimisers' moments
    modules: dict[str, nn.Module] = dict(recipe.modules)
    state, own = recipe.state_dict(), list(_tensors_of(modules))
    weights = storage_bytes(own)
    kept = storage_bytes([state, own]) - weights
    runtime = max(0, process_bytes() - held - kept - (weights if before else 0))
    accounts = list(_accounts(recipe, batch, small, affordable))
    last = accounts[-1]
    row = _slope(accounts)
    spent = data_s, 0.0, 0
    if last.rows == rows:
        spent = _timed(recipe, batches, batch, data_s, seconds)
    share = rows / last.rows
    return Rehearsal(
        rows=rows,
        tried=last.rows,
        runtime=runtime,
        weights=weights,
        kept=kept,
        step=round(last.peak + row * (rows - last.rows)),
        row=row,
        batch=storage_bytes(batch_tensors(batch)),
        flops=last.flops * share,
        calls=last.calls,
        tokens=round(last.tokens * share),
        data_s=spent[0],
        update_s=spent[1],
        timed=spent[2],
        saved=num_bytes(state) + num_bytes(recipe.acting().state_dict()),
    )


def first_rows(batch: Any, count: int) -> Any:  # noqa: ANN401  (any batch)
    """Return the first rows of a batch: of its arrays, and of the tuples that have an entry a row.

    A batch whose arrays have other entries than one a row has a method ``first`` that is asked instead.
    """
    rows = int(batch.num_rows)
    if count >= rows or not dataclasses.is_dataclass(batch):
        return batch
    own = getattr(batch, "first", None)
    if own is not None:
        return own(count, first_rows)
    return _cut(map_arrays(batch, lambda array: array[:count]), rows, count)


def batch_tensors(batch: Any) -> list[Tensor]:  # noqa: ANN401  (any batch)
    """Return the tensors of a batch."""
    found: list[Tensor] = []

    def note(array: Any) -> Any:  # noqa: ANN401
        if isinstance(array, Tensor):
            found.append(array)
        return array

    if dataclasses.is_dataclass(batch):
        map_arrays(batch, note)
    return found


def wait(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def device_of(recipe: Recipe[Any]) -> torch.device:
    """Return where a recipe computes."""
    return next(next(iter(recipe.modules.values())).parameters()).device


@contextmanager
def counted_tokens() -> Generator[list[int]]:
    """Yield a list whose one entry is the most positions, over all rows, of any sequence (B, N, D) that a layer got."""
    most = [0]

    def look(_module: nn.Module, given: tuple[Any, ...]) -> None:
        for value in given:
            if isinstance(value, Tensor) and value.ndim == 3 and value.is_floating_point():
                most[0] = max(most[0], value.shape[0] * value.shape[1])

    handle = nn.modules.module.register_module_forward_pre_hook(look)
    try:
        yield most
    finally:
        handle.remove()


def _accounts(
    recipe: Recipe[Any],
    batch: Any,  # noqa: ANN401
    rows: int,
    affordable: Callable[[int], bool],
) -> Iterator[_Account]:
    """Yield accounts of updates of more and more rows, up to the whole batch or to what can be afforded."""
    full = int(batch.num_rows)
    accounts: list[_Account] = []
    for count in dict.fromkeys((rows, min(full, 2 * rows), full)):
        foreseen = accounts[-1].peak * count / accounts[-1].rows if accounts else 0
        if len(accounts) > 1 and not affordable(round(foreseen)):
            return
        with counted_tokens() as tokens, Ledger() as ledger:
            recipe.update(first_rows(batch, count))
        accounts.append(_Account(count, ledger.peak, float(ledger.flops), ledger.calls, tokens[0]))
        yield accounts[-1]


def _slope(accounts: list[_Account]) -> float:
    """Return what one more row adds to the peak, from the two largest updates."""
    if len(accounts) < 2:
        return accounts[-1].peak / accounts[-1].rows
    one, two = accounts[-2:]
    return max(0.0, (two.peak - one.peak) / (two.rows - one.rows))


def _timed(
    recipe: Recipe[Any],
    batches: Iterator[Any],
    batch: Any,  # noqa: ANN401
    data_s: float,
    seconds: float,
) -> tuple[float, float, int]:
    """Return the median time of a batch and of an update, and how many were timed.

    Where making a batch takes longer than the time there is, as with rollouts, the one there is serves.
    """
    device, begun = device_of(recipe), time.perf_counter()
    data: list[float] = []
    updates: list[float] = []
    while len(updates) < LEAST or (len(updates) < MOST and time.perf_counter() - begun < seconds):
        start = time.perf_counter()
        if data_s < seconds:
            batch = next(batches)
            data.append(time.perf_counter() - start)
        start = time.perf_counter()
        recipe.update(batch)
        wait(device)
        updates.append(time.perf_counter() - start)
    return statistics.median(data or [data_s]), statistics.median(updates), len(updates)


def _tensors_of(modules: Mapping[str, nn.Module]) -> Iterator[Tensor]:
    for module in modules.values():
        yield from module.parameters()
        yield from module.buffers()


def _cut(record: Any, rows: int, count: int) -> Any:  # noqa: ANN401  (any record)
    """Return a record whose tuples of ``rows`` entries are cut to ``count``, records inside included."""
    changes: dict[str, Any] = {}
    for item in dataclasses.fields(record):
        value = getattr(record, item.name)
        if dataclasses.is_dataclass(value):
            changes[item.name] = _cut(value, rows, count)
        elif isinstance(value, tuple) and len(value) == rows:
            changes[item.name] = value[:count]
    return dataclasses.replace(record, **changes)
