"""A run in stages says what each will take before the first begins, and refuses the one that does not fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from run.test_embodying import STAGES as BODY_STAGES
from run.test_embodying import placed
from run.test_teaching import RUN, STAGES
from sinew.core.errors import ConfigError
from sinew.core.files import read_json
from sinew.engine import preflight
from sinew.engine.forecast import Forecast
from sinew.run import dry, dry_run, train
from sinew.run.parts import run_path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "SECONDS", 0.05)
    monkeypatch.setattr(preflight, "PEAK_S", 0.02)


@pytest.mark.usefixtures("quick")
def test_each_stage_has_a_row_on_the_card_and_the_time_is_that_of_all(tmp_path: Path) -> None:
    (path,) = train(RUN, root=tmp_path, command="here")
    told = read_json(path / "stages.json")["stages"]
    assert [one["time"]["updates"] for one in told] == [2, 2, 2]
    card = (path / "README.md").read_text()
    rows = [row for row in stages_of(card).splitlines() if row.startswith("|")]
    assert [row.split(" | ")[0].strip("| ") for row in rows[2:]] == ["read", "align", "instruct"]
    assert "2 of 4 rows" in rows[-1]
    assert "not measured" not in card.partition("## Risks")[0]
    assert "time of 6 updates" in card


def stages_of(card: str) -> str:
    """Return the section of a card."""
    return card.partition("## Stages")[2].partition("\n## ")[0]


@pytest.mark.usefixtures("quick")
def test_a_dry_run_of_stages_prints_them_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two = dataclasses.replace(RUN, stages=STAGES[:2], loop=dataclasses.replace(RUN.loop, updates=4))
    dry.dry_run(two, root=tmp_path, command="here", recorded=None)
    said = capsys.readouterr().out
    assert all(stage.name in said for stage in STAGES[:2])
    assert "Nothing was trained and nothing written" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_a_stage_that_does_not_fit_is_refused_by_name_and_leaves_no_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., Forecast] = preflight.foresee
    count: list[int] = []

    def full(*arguments: object, **named: object) -> Forecast:
        found = real(*arguments, **named)
        count.append(1)
        free = 1 if len(count) == 2 else 2**60
        return dataclasses.replace(found, memory=dataclasses.replace(found.memory, available=free))

    monkeypatch.setattr(preflight, "foresee", full)
    with pytest.raises(ConfigError, match=r"stage align: The run needs .* of memory"):
        train(RUN, root=tmp_path, command="here")
    assert not run_path(RUN, tmp_path).exists()


@pytest.mark.usefixtures("quick")
def test_stages_with_a_robot_are_foreseen_with_their_tryouts_and_dry_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = placed(tmp_path)
    config = dataclasses.replace(config, loop=dataclasses.replace(config.loop, eval_at=(0.5,)))
    dry_run(config, root=tmp_path / "runs", command="here")
    said = capsys.readouterr().out
    assert all(f"{stage.name}" in said for stage in BODY_STAGES)
    assert "a vision-language model, taught and given a body in 3 stages" in " ".join(said.split())
    assert "time of 1 tryouts" in said
    assert not list((tmp_path / "runs").glob("body-*"))
    (path,) = train(config, root=tmp_path / "runs", command="here")
    told = read_json(path / "stages.json")["stages"]
    assert [one["time"]["updates"] for one in told] == [2, 3, 2]
    assert all(one["time"]["update_s"] > 0 and one["memory"]["rows"] for one in told)
    assert "not measured" not in (path / "README.md").read_text().partition("## Risks")[0]
