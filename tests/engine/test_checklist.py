"""The checklist is ticked by what the run shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from sinew.engine import checklist

ROWS = [{"update": 10 * n, "loss": 1.0 / n, "skipped": 0} for n in range(1, 21)]


def test_every_item_can_be_ticked_and_told_anew() -> None:
    card = checklist.blank()
    for item in (*checklist.BEFORE, *checklist.DURING, *checklist.AFTER):
        assert f"- [ ] {item}\n" in card
        card = checklist.tick(card, {item: (True, r"as seen \1")})
        assert f"- [x] {item}: as seen \\1\n" in card
        assert f"- [ ] {item}: not now\n" in checklist.tick(card, {item: (False, "not now")})


def test_a_healthy_run_shows_a_falling_loss_no_nan_and_checkpoints(tmp_path: Path) -> None:
    for name in ("100", "200", "last"):
        (tmp_path / name).mkdir()
    found = checklist.during(ROWS, tmp_path)
    assert found["Loss decreasing"][0]
    assert found["No NaN values"] == (True, "0 updates skipped in 20 logged stretches")
    assert found["Checkpoints saving"] == (True, "after update 100, 200")
    assert not found["GPU more than 80 % utilised"][0]


def test_losses_of_several_stages_are_not_compared(tmp_path: Path) -> None:
    stages = [{**row, "stage": 0.0, "loss": 0.1} for row in ROWS] + [{**row, "stage": 1.0} for row in ROWS]
    found = checklist.during(stages, tmp_path)["Loss decreasing"]
    assert found == (True, "0.75 in the first tenth of the last stage, 0.0513 in the last")


@pytest.mark.parametrize(
    ("changes", "item"),
    [
        ({"loss": 2.0}, "Loss decreasing"),
        ({"skipped": 3}, "No NaN values"),
        ({"gpu_load": 0.5}, "GPU more than 80 % utilised"),
    ],
)
def test_an_ailing_run_is_not_ticked(tmp_path: Path, changes: dict[str, float], item: str) -> None:
    found = checklist.during([{**row, **changes} if row["update"] > 100 else row for row in ROWS], tmp_path)
    assert not found[item][0]


def test_a_busy_gpu_is_ticked(tmp_path: Path) -> None:
    assert checklist.during([{**row, "gpu_load": 0.9} for row in ROWS], tmp_path)["GPU more than 80 % utilised"][0]
