"""Cuts a batch into pieces that fit into memory one after another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from sinew.core.types import Batch


def pieces(batch: Batch[Any], count: int) -> Iterator[Batch[Any]]:
    """Yield the rows of a batch in ``count`` runs of nearly equal length, in order; fewer where there are fewer rows.

    Arrays are views of the batch's own. One piece is the batch itself.
    """
    count = max(1, min(count, batch.num_rows))
    if count == 1:
        yield batch
        return
    for number in range(count):
        yield _rows(batch, slice(batch.num_rows * number // count, batch.num_rows * (number + 1) // count))


def _rows(batch: Batch[Any], rows: slice) -> Batch[Any]:
    picked = batch.map(lambda array: array[rows])
    obs = dataclasses.replace(picked.obs, instruction=batch.obs.instruction[rows])
    return dataclasses.replace(picked, obs=obs, task=batch.task[rows], source=batch.source[rows])
