"""The arithmetic of forecasts, with numbers worked out by hand."""

from __future__ import annotations

import dataclasses

import pytest

from sinew.engine.forecast import SPARE, Cost, Disk, Memory, Stop, Time, milliseconds, size

MEMORY = Memory(
    device="cpu",
    runtime=100,
    weights=1000,
    kept=3000,
    step=5000,
    batch=50,
    rows=100,
    row=40.0,
    available=20_000,
    measured_rows=100,
)


def test_the_peak_is_the_sum_of_its_parts() -> None:
    assert MEMORY.needed == round(100 + 1000 + 3000 + SPARE * 5000 + 2 * 50)
    assert MEMORY.fits


def test_the_largest_batch_fits_and_eight_more_rows_do_not() -> None:
    tight = dataclasses.replace(MEMORY, available=8000)
    assert not tight.fits
    rows = tight.largest_batch
    assert rows % 8 == 0

    def needed(count: int) -> float:
        return tight.needed - (tight.rows - count) * (SPARE * tight.row + 1.0)

    assert needed(rows) <= 8000 < needed(rows + 8)


def test_where_weights_alone_are_too_much_no_batch_fits() -> None:
    assert dataclasses.replace(MEMORY, available=4000).largest_batch == 0
    assert dataclasses.replace(MEMORY, available=4000).pieces == 0


def test_cutting_the_batch_into_that_many_pieces_fits_and_into_fewer_does_not() -> None:
    tight = dataclasses.replace(MEMORY, available=7000)
    fixed = tight.needed - SPARE * 4000
    assert fixed + SPARE * 4000 / tight.pieces <= 7000 < fixed + SPARE * 4000 / (tight.pieces - 1)


def test_unknown_memory_refuses_nothing() -> None:
    assert dataclasses.replace(MEMORY, available=0).fits


def test_time_is_updates_stops_and_what_lies_around() -> None:
    time = Time(100, 0.5, stops=(Stop(20, 7.0, "rounds"), Stop(40, 7.0, "rounds"), Stop(50, 1.0, "tryouts")), after_s=9)
    assert (time.training_s, time.total_s) == (65.0, 74.0)
    assert time.by_kind() == {"rounds": (2, 14.0), "tryouts": (1, 1.0)}


def test_cost_needs_a_rate() -> None:
    assert (Cost().energy_kwh(3600), Cost().money(3600)) == (None, None)
    cost = Cost(watts=500, per_kwh=0.3, per_hour=2.0)
    assert cost.energy_kwh(7200) == pytest.approx(1.0)
    assert cost.money(7200) == pytest.approx(4.3)
    assert Cost(per_kwh=0.3).money(7200) is None


def test_disk_adds_up() -> None:
    assert Disk({"a": 3, "b": 4}, free=7).fits
    assert not Disk({"a": 3, "b": 4}, free=6).fits


@pytest.mark.parametrize(
    ("count", "said"), [(12, "12 B"), (2048, "2 KiB"), (1.5 * 2**20, "1.5 MiB"), (2**40, "1024 GiB")]
)
def test_sizes_are_short(count: float, said: str) -> None:
    assert size(count) == said


def test_short_times_are_short() -> None:
    assert [milliseconds(seconds) for seconds in (0.0123, 1.234)] == ["12.3 ms", "1,234 ms"]
