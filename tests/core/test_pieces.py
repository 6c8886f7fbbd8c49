"""Pieces of a batch hold all of its rows, in order."""

from __future__ import annotations

import numpy as np
import pytest

from sinew.core.pieces import pieces
from sinew.core.types import Batch, NumpyBatch, Observation


def batch(rows: int) -> NumpyBatch:
    words = tuple(f"row {row}" for row in range(rows))
    numbers = np.arange(rows, dtype=np.float32)
    obs = Observation(images={"front": numbers[:, None]}, state=numbers[:, None], instruction=words)
    return Batch(obs, numbers[:, None], numbers[:, None] > 0, numbers, {"goal": numbers}, task=words, source=words)


@pytest.mark.parametrize(("rows", "count", "sizes"), [(7, 3, [2, 2, 3]), (2, 5, [1, 1]), (4, 1, [4])])
def test_pieces_hold_every_row_once(rows: int, count: int, sizes: list[int]) -> None:
    parts = list(pieces(batch(rows), count))
    assert [part.num_rows for part in parts] == sizes
    assert [word for part in parts for word in part.obs.instruction] == [f"row {row}" for row in range(rows)]
    for part in parts:
        assert part.task == part.source == part.obs.instruction
        assert part.targets["goal"].tolist() == part.weight.tolist() == part.obs.images["front"][:, 0].tolist()
        assert [f"row {int(value)}" for value in part.weight] == list(part.task)


def test_one_piece_is_the_batch_itself() -> None:
    whole = batch(3)
    assert next(pieces(whole, 1)) is whole
