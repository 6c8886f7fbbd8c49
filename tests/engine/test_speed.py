"""The time of an update is split completely, and what measures it leaves no trace."""

from __future__ import annotations

import pytest
import torch

from engine.tiny import Fit
from sinew.core.types import Cursor
from sinew.engine.speed import PHASES, Stopwatch, matmul_peak, measure, watching


def test_phases_make_up_the_update_and_operations_are_those_of_the_batch() -> None:
    found = measure(Fit(), seconds=0.0)
    assert set(found.seconds) == set(PHASES)
    assert all(seconds > 0 for seconds in found.seconds.values())
    assert sum(found.shares().values()) == pytest.approx(1.0)
    assert found.rows == 4
    assert found.updates == 3
    assert found.flops == 2 * 4 * (8 + 8) + 2 * 4 * (8 + 8 + 8)  # forward; backward, without the gradient of the input
    assert 0 < found.mfu < 1


def test_backward_and_steps_are_seen_and_the_hooks_are_gone_afterwards() -> None:
    backward, watch, recipe = torch.autograd.backward, Stopwatch(torch.device("cpu")), Fit()
    order: list[str] = []
    watch.ends = order.append  # type: ignore[method-assign]
    batches = recipe.batches(Cursor(0))
    with watching(watch):
        recipe.update(next(batches))
    assert order == ["forward", "backward", "optimiser"]
    assert torch.autograd.backward is backward
    recipe.update(next(batches))
    assert len(order) == 3


def test_the_peak_is_that_of_a_matrix_product() -> None:
    assert matmul_peak(torch.device("cpu"), torch.float32, seconds=0.0) > 1e8
