"""The record of a training goes to the terminal, to trackers and into a picture."""

from __future__ import annotations

import dataclasses
import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from sinew.core.errors import DependencyError
from sinew.core.rundir import RunDir
from sinew.engine.progress import Progress
from sinew.engine.track import MetricsLog
from sinew.run import RunConfig
from sinew.run.following import followed, saved
from sinew.run.parts import run_path

ROW = {"update": 10, "loss": 0.5, "elapsed_s": 1.0}


def follow(path: Path, *track: str) -> str:
    """Follow a run of one row; return what the terminal showed."""
    rundir, shown = RunDir(path), io.StringIO()
    path.mkdir()
    progress = Progress(10, console=Console(file=shown, width=200))
    with followed(RunConfig(track=track or None), rundir, progress) as on_log:
        MetricsLog(rundir.metrics).append(ROW)
        on_log(ROW)
    return shown.getvalue()


def test_row_is_shown_and_tracked_and_the_curves_are_drawn(tmp_path: Path) -> None:
    assert "update 10/10 (100 %)  loss 0.5" in follow(tmp_path / "run")
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    content = events.read_bytes()
    assert b"loss" in content
    assert (tmp_path / "run" / "curves.png").read_bytes() in content


def test_none_tracks_nothing(tmp_path: Path) -> None:
    follow(tmp_path / "run", "none")
    assert [item.name for item in (tmp_path / "run").iterdir()] == ["metrics.jsonl"]


def test_tracker_without_its_package_is_refused_with_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(DependencyError, match="wandb"):
        follow(tmp_path / "run", "wandb")


def test_where_a_run_goes_on_is_its_last_checkpoint(tmp_path: Path) -> None:
    rundir = RunDir(tmp_path)
    assert saved(rundir) == 0
    rundir.checkpoints.mkdir()
    (rundir.checkpoints / "last").symlink_to("40")
    assert saved(rundir) == 40


def test_trackers_do_not_change_where_a_run_lies(tmp_path: Path) -> None:
    plain = RunConfig()
    assert run_path(dataclasses.replace(plain, track=("wandb",)), tmp_path) == run_path(plain, tmp_path)
