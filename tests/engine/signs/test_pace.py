"""Input-bound is who waits for data while the device is idle."""

from __future__ import annotations

from engine.records import changed, healthy
from sinew.engine.evidence import Evidence
from sinew.engine.signs.pace import input_bound, verdict


def test_waiting_for_the_device_too_is_compute_bound() -> None:
    rows = changed(data_share=lambda _: 0.6, device_share=lambda _: 0.35)
    assert list(input_bound(Evidence(rows))) == []
    assert verdict(Evidence(rows)) == "compute-bound: 60 % of the time waits for batches, 35 % for the device"


def test_rounds_of_collecting_fill_single_rows() -> None:
    assert list(input_bound(Evidence(changed(data_share=lambda share: 0.9 if share > 0.98 else 0.02)))) == []


def test_recipe_that_acts_is_told_so_and_not_blamed() -> None:
    rows = changed(data_share=lambda _: 0.9, **{"return": lambda share: share})
    assert list(input_bound(Evidence(rows))) == []
    assert verdict(Evidence(rows)).startswith("bound by acting in the world: 90 %")


def test_short_runs_are_not_blamed_and_old_records_say_nothing() -> None:
    rows = changed(data_share=lambda _: 0.9, elapsed_s=lambda share: 10 * share)
    assert list(input_bound(Evidence(rows))) == []
    assert verdict(Evidence([{"update": 1, "loss": 2.0}])) == ""
    assert verdict(Evidence(healthy())).startswith("compute-bound")
