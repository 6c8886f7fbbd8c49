"""The live line and its plain cousin."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from sinew.engine.progress import Pace, Progress, clock, trend

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
    pace = Pace(200)
    assert pace.left() is None
    pace.see(50, 10.0)
    assert pace.left() == 30.0
    pace.see(100, 30.0)  # 50 more updates took 20 s: 100 more will take 40 s
    assert pace.left() == 40.0


def test_another_timer_has_its_say() -> None:
    class Calendar:
        def see(self, update: int, elapsed_s: float) -> None:
            self.seen = (update, elapsed_s)

        def left(self) -> float:
            return 7200.0

    timer = Calendar()
    stream = io.StringIO()
    Progress(200, console=Console(file=stream), timer=timer).show(ROW)
    assert timer.seen == (50, 10.0)
    assert stream.getvalue().endswith("0:10 gone, 2:00:00 left\n")


def rendered(width: int, *rows: dict[str, object], **options: float) -> list[str]:
    """Return the live lines after some rows, as a terminal of that width shows them."""
    progress = Progress(200, console=Console(file=io.StringIO()), **options)
    for row in rows:
        progress.show(row)
    console = Console(file=io.StringIO(), width=width, force_terminal=False, highlight=False)
    console.print(progress.panel(rows[-1]))
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 120])
def test_live_lines_fit_the_terminal_and_say_everything(width: int) -> None:
    used = {"memory_gb": 1.2, "gpu_load": 0.92, "gpu_memory_gb": 12.3, "data_share": 0.12, "skipped": 2}
    found = {"update": 50, "finding": {"fault": "overfitting"}}
    scores = [{"update": 50, "score": 0.75}, {"update": 50, "score": 0.5}]
    lines = rendered(width, *scores, found, {**ROW, **used}, flops=1e9, peak_flops=1e10)
    assert len(lines) == 4
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("update 50/200")
    assert lines[0].rstrip().endswith("25 %   0:10 gone, 0:30 left")
    assert lines[1].split("   ") == ["loss 0.5 →", "lr 0.001", "grad 2", "score 0.5 (best 0.75)", "2 skipped"]
    assert lines[2].split("   ")[:3] == ["1,000 samples/s", "MFU 50 %", "memory 1.2 GB"]
    assert lines[2].split("   ")[3:] == ["GPU 92 %, 12.3 GB", "12 % for data"]
    assert lines[3] == "found: overfitting"


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


def test_a_score_is_told_as_what_it_is() -> None:
    progress = Progress(200)
    progress.tell_scores_as("error", lambda score: f"{-score:g} m")
    for score in (-0.25, -0.5):
        progress.show({**ROW, "score": score})
    assert "error 0.5 m (best 0.25 m)" in progress.line(ROW)


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
