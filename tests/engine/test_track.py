"""metrics.jsonl survives torn tails."""

from __future__ import annotations

from pathlib import Path

from sinew.engine.track import MetricsLog, read_rows


def test_torn_tail_and_later_rows_are_cut(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for update in (10, 20, 30):
        log.append({"update": update, "loss": 1 / update})
    with log.path.open("a") as file:
        file.write('{"update": 40, "lo')
    log.cut(20)
    assert [row["update"] for row in read_rows(log.path)] == [10, 20]
    log.append({"update": 30, "loss": 0.5})
    assert [row["update"] for row in read_rows(log.path)] == [10, 20, 30]


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append({"update": 1, "loss": float("nan"), "grad_norm": float("inf")})
    assert read_rows(log.path) == [{"update": 1, "loss": None, "grad_norm": None}]
