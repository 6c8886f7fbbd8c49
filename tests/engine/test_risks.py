"""Risks are named where there are some, and only there."""

from __future__ import annotations

import dataclasses

from engine.test_forecast import MEMORY
from sinew.engine.forecast import Cost, Disk, Forecast, Time
from sinew.engine.risks import doubt, of_data, of_machine, of_overwriting

EASY = Forecast(MEMORY, Time(100, 0.1), Disk({"checkpoints": 10}, free=1000), Cost())


def test_an_easy_run_has_no_risk() -> None:
    assert list(of_machine(EASY)) == []
    assert list(of_data(500, 10, sentences=3)) == []
    assert list(of_overwriting(exists=False, keep=2, checkpoints=3)) == []


def test_tight_memory_a_full_disk_and_days_are_critical() -> None:
    hard = dataclasses.replace(
        EASY,
        memory=dataclasses.replace(MEMORY, available=MEMORY.needed + 1),
        time=Time(100_000, 2.0),
        disk=Disk({"checkpoints": 10}, free=11),
        cost=Cost(per_hour=10.0),
    )
    found = list(of_machine(hard))
    assert [risk.what.split(":")[0] for risk in found] == ["Out of memory", "Disk full", "A long run"]
    assert {risk.grade for risk in found} == {"critical"}
    assert "556 USD" in found[2].what


def test_data_without_a_held_out_part_is_critical_and_few_episodes_are_named() -> None:
    found = list(of_data(7, 0, sentences=1))
    assert [risk.grade for risk in found] == ["critical", "high", "high"]
    assert "7 episodes" in found[1].what
    assert "one sentence" in found[2].what


def test_going_on_in_a_directory_is_said() -> None:
    assert [risk.grade for risk in of_overwriting(exists=True, keep=2, checkpoints=3)] == ["critical"]
    assert "newest 2" in next(iter(of_overwriting(exists=False, keep=2, checkpoints=30))).what


def test_every_risk_has_a_mitigation_and_a_recovery() -> None:
    for risk in (*of_data(7, 0, sentences=1), *of_overwriting(exists=True, keep=1, checkpoints=1), doubt("a", "b")):
        assert risk.mitigation
        assert risk.recovery
