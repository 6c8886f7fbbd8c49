"""What goes to trackers; the real packages read it back in tests/parity/trackers."""

from __future__ import annotations

from pathlib import Path

import pytest

from sinew.core.errors import ConfigError
from sinew.engine.findings import Finding
from sinew.engine.trackers import TRACKERS, Tracked, Tracking, check_trackers, flat

FINDING = Finding("mode collapse", "", 20, "1 %", "cause", "remedy")


class Notebook:
    """A tracker that writes down what it gets, and breaks at a number above 8."""

    def __init__(self, run: Tracked) -> None:
        self.lines: list[object] = [run.name]

    def numbers(self, update: int, numbers: dict[str, float]) -> None:
        if max(numbers.values()) > 8:
            raise OSError("the page is full")
        self.lines.append((update, numbers))

    def picture(self, update: int, name: str, path: Path) -> None:
        self.lines.append((update, name, path.name))

    def text(self, update: int, name: str, text: str) -> None:
        self.lines.append((update, name, text))

    def close(self) -> None:
        self.lines.append("closed")


def test_numbers_go_on_and_findings_go_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRACKERS, "notebook", Notebook)
    notes: list[str] = []
    tracking = Tracking(["notebook"], Tracked(tmp_path / "run-1"), note=notes.append)
    lines = tracking.trackers["notebook"].lines
    tracking.show({"update": 20, "loss": 2, "lr": None, "bad": float("nan"), "word": "x"})
    tracking.show(FINDING.row(20))
    tracking.picture(20, "curves", tmp_path / "curves.png")
    tracking.close()
    tracking.show({"update": 30, "loss": 1.0})
    assert lines[:2] == ["run-1", (20, {"loss": 2.0})]
    assert lines[2][1] == "findings"
    assert "**mode collapse**" in lines[2][2]
    assert lines[3:] == [(20, "curves", "curves.png"), "closed"]
    assert notes == []


def test_tracker_that_fails_is_told_once_and_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRACKERS, "notebook", Notebook)
    notes: list[str] = []
    tracking = Tracking(["notebook", "tensorboard"], Tracked(tmp_path), note=notes.append)
    for update in (1, 2, 3):
        tracking.show({"update": update, "loss": 9.0})
    assert len(notes) == 1
    assert "the page is full" in notes[0]
    assert list(tracking.trackers) == ["tensorboard"]
    tracking.close()


def test_every_run_has_event_files_unless_none_is_asked_for(tmp_path: Path) -> None:
    assert (check_trackers(None), check_trackers(("none",))) == (("tensorboard",), ())
    Tracking(None, Tracked(tmp_path, {"lr": 0.1}), note=print).close()
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def test_unknown_tracker_is_refused_with_the_list() -> None:
    with pytest.raises(ConfigError, match="--track comet: there are tensorboard, wandb, trackio, mlflow and none"):
        check_trackers(("comet", "wandb"))


def test_settings_are_told_by_dotted_names() -> None:
    tree = {"optim": {"lr": 0.1, "clip": None}, "tasks": ["a", "b"], "deep": {"er": {"on": True}}, "empty": {}}
    assert flat(tree) == {"optim.lr": 0.1, "tasks": "['a', 'b']", "deep.er.on": True, "empty": "{}"}
