"""A folder for a task is laid out whole or not at all, and trains as it lies there."""

from __future__ import annotations

from pathlib import Path

import pytest

from sinew.cli.main import main
from sinew.cli.options import TrainOptions
from sinew.cli.resolve import build_preset, starting_point
from sinew.presets import PRESETS


@pytest.mark.parametrize("preset", PRESETS)
def test_its_preset_and_its_settings_are_those_it_began_as(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "my-task", "--preset", preset]) == 0
    mine = build_preset("my-task/preset.py", "tiny")
    assert mine.name == "my-task"
    assert (mine.policy, mine.recipe, mine.loop) == (lambda one: (one.policy, one.recipe, one.loop))(
        PRESETS[preset]("tiny")
    )
    options = TrainOptions(preset="my-task/preset.py", config=Path("my-task/config.json"))
    assert starting_point(options) == build_preset("my-task/preset.py", "small")


def test_its_page_holds_the_commands_the_risks_and_the_checklist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "my-task"]) == 0
    page = (tmp_path / "my-task" / "README.md").read_text()
    for wanted in ("sinew train ./my-task/preset.py --dry-run", "### Critical", "### High", "- [ ] Dataset validated"):
        assert wanted in page
    assert "<" not in page
    assert "Next: sinew train ./my-task/preset.py --dry-run" in capsys.readouterr().out


def test_what_is_there_is_not_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "task").mkdir()
    assert main(["new", str(tmp_path / "task")]) == 2
    assert "exists already" in capsys.readouterr().err
    assert list((tmp_path / "task").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"), [(["9 lives"], "name it with letters"), (["task", "--preset", "bcc"], "Did you mean 'bc'?")]
)
def test_wrong_names_are_refused(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", *words]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
