"""``sinew diagnose``: findings and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.records import changed, healthy
from sinew.cli.main import main


def keep(path: Path, rows: list[dict[str, object]]) -> str:
    path.mkdir()
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_faults_are_printed_with_what_to_try_and_the_exit_code_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = keep(tmp_path / "bad", changed(probe__look=lambda _: 0.001))
    assert main(["diagnose", run]) == 1
    shown = capsys.readouterr().out
    assert "dead input, images: another image changes the action by 0.1 %" in shown
    assert "  likely: the state alone" in shown
    assert "  try: Leave the state out" in shown
    assert "compute-bound: 4 % of the time waits for batches" in shown


def test_healthy_run_has_nothing_and_old_faults_are_told_as_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finding = {"fault": "oscillation", "where": "", "update": 300, "evidence": "it swung", "cause": "", "remedy": ""}
    run = keep(tmp_path / "good", [*healthy(), {"update": 300, "finding": finding}])
    assert main(["diagnose", run]) == 0
    shown = capsys.readouterr().out
    assert "Nothing is wrong that can be seen here." in shown
    assert "over: oscillation, told after update 300: it swung" in shown


def test_tryouts_of_an_older_version_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"update": update, "loss": 1 / update} for update in range(100, 2001, 100)]
    run = keep(tmp_path / "old", rows)
    rates = {
        str(update): [
            {
                "split": "seen",
                "task": task,
                "control": "none",
                "successes": won,
                "n": n,
                "low": 0.0,
                "high": 1.0,
                "seeds": 1,
                "lowest": won / n,
            }
            for task, won, n in (("lift", last, 40), ("push", 39 - last, 40), ("all", 39, 80))
        ]
        for update, last in ((500, 36), (1500, 4))
    }
    (tmp_path / "old" / "tryouts.json").write_text(json.dumps(rates))
    assert main(["diagnose", run]) == 1
    assert "catastrophic forgetting, lift: score 0.90 at update 500, now 0.10" in capsys.readouterr().out


def test_directory_without_a_record_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", str(tmp_path / "nowhere")]) == 2
    assert "has no metrics.jsonl" in capsys.readouterr().err
