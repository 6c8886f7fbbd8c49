"""What happened to a run is kept however often it goes back, and told once."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.tiny import evaluate, train
from sinew.core.errors import SinewError
from sinew.core.rundir import RunDir
from sinew.engine.incidents import Incident, Incidents, happened


def test_each_incident_is_told_once_and_a_torn_line_not_at_all(tmp_path: Path) -> None:
    kept = Incidents(tmp_path / "incidents.jsonl")
    kept.add("skipped update", 4, "Not finite.")
    kept.add("resumed", 2, "Going on after update 2 of 9.")
    kept.add("skipped update", 4, "Not finite.")  # done again
    with kept.path.open("a") as file:
        file.write('{"kind": "spi')
    assert [(item.kind, item.update) for item in happened(kept.path, [])] == [("skipped update", 4), ("resumed", 2)]


def test_where_none_were_kept_the_counts_of_the_log_are_told(tmp_path: Path) -> None:
    rows = [{"update": 5, "skipped": 0}, {"update": 10, "skipped": 2, "spikes": 1}, {"update": 15, "skipped": 2}]
    assert happened(tmp_path / "none", rows) == (
        Incident("skipped update", 10, "2 not finite up to here: skipped."),
        Incident("spike", 10, "The loss jumped 1 x up to here."),
    )


def test_a_place_that_cannot_be_written_is_our_error(tmp_path: Path) -> None:
    with pytest.raises(SinewError, match="could not be written"):
        Incidents(tmp_path / "gone" / "incidents.jsonl").add("spike", 1, "")


def test_a_run_that_goes_on_after_a_broken_checkpoint_tells_both(tmp_path: Path) -> None:
    train(tmp_path / "run", on_eval=evaluate)
    rundir = RunDir(tmp_path / "run")
    newest = (rundir.checkpoints / "last").resolve()
    (newest / "training_state" / "state.json").write_text("{}")
    train(tmp_path / "run", on_eval=evaluate)
    kinds = [item.kind for item in happened(rundir.incidents, [])]
    assert kinds == ["broken checkpoint", "resumed"]
