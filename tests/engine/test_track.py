"""metrics.jsonl survives torn tails, and the picture is drawn."""

from __future__ import annotations

from pathlib import Path

from sinew.engine.track import MetricsLog, draw_curves, read_rows


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


def test_curves_are_drawn_with_and_without_scores(tmp_path: Path) -> None:
    rows = [{"update": u, "loss": 1 / u, "lr": 1e-3, "grad_norm": 1.0, "elapsed_s": 1.0} for u in (1, 2, 3)]
    draw_curves(rows, tmp_path / "a.png")
    draw_curves([*rows, {"update": 3, "score": 0.5}], tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.png", "b.png"]
