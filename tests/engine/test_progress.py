"""The live line and its plain cousin."""

from __future__ import annotations

import io

from rich.console import Console

from sinew.engine.progress import Progress, clock, trend

ROW = {
    "update": 50,
    "loss": 0.5,
    "lr": 1e-3,
    "grad_norm": 2.0,
    "samples_per_s": 1000.0,
    "elapsed_s": 10.0,
    "skipped": 0,
}


def test_time_left_follows_the_pace_of_this_process() -> None:
    progress = Progress(200)
    assert progress.line(ROW).endswith("0:10 gone, 0:30 left")
    # 50 more updates took 20 s: 100 more will take 40 s.
    assert progress.line({**ROW, "update": 100, "elapsed_s": 30.0}).endswith("0:30 gone, 0:40 left")


def test_plain_output_is_rare_but_has_first_and_last() -> None:
    stream = io.StringIO()
    with Progress(200, console=Console(file=stream, width=80)) as progress:
        for update in (50, 100, 150, 200):
            progress.show({**ROW, "update": update})
        progress.show({"update": 200, "score": 0.75})
        progress.note("[careful]")
    lines = stream.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines[:2]] == ["update 50/200 (25 %)", "update 200/200 (100 %)"]
    assert lines[2] == "[careful]"


def test_live_line_on_a_terminal_shows_loss_and_score() -> None:
    stream = io.StringIO()
    with Progress(200, console=Console(file=stream, width=200, force_terminal=True)) as progress:
        progress.show({"update": 50, "score": 0.75})
        progress.show(ROW)
    assert "loss 0.5" in stream.getvalue()
    assert "score 0.75" in stream.getvalue()


def test_missing_numbers_are_left_out() -> None:
    assert "grad" not in Progress(200).line({**ROW, "grad_norm": None})


def test_trend_and_clock() -> None:
    assert [trend(losses) for losses in ([], [1.0], [2.0, 1.0], [1.0, 2.0], [1.0, 1.001])] == ["→", "→", "↓", "↑", "→"]
    assert [clock(seconds) for seconds in (0, 59.6, 725, 10921)] == ["0:00", "1:00", "12:05", "3:02:01"]
