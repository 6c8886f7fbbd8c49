"""Where the time of a run went."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from sinew.core.machine import cpu_seconds
from sinew.run.clock import Clock


def burn(seconds: float) -> None:
    """Use the CPU for so long."""
    start = time.process_time()
    while time.process_time() - start < seconds:
        pass


def test_phases_add_up_over_restarts(tmp_path: Path) -> None:
    for _ in range(2):
        with Clock(tmp_path / "timings.json").phase("train"):
            burn(0.02)
    clock = Clock(tmp_path / "timings.json")
    assert clock.phases.keys() == {"train"}
    assert clock.cpu_s == pytest.approx(0.04, abs=0.03)
    assert clock.wall_s >= 0.04


def test_an_interrupted_phase_counts(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "timings.json")
    with pytest.raises(KeyboardInterrupt), clock.phase("train"):
        raise KeyboardInterrupt
    assert "train" in Clock(tmp_path / "timings.json").phases


def test_workers_that_live_are_counted() -> None:
    before = cpu_seconds()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(burn, 0.3).result()
        assert cpu_seconds() - before >= 0.3
