"""The whole way at the smallest size: demonstrations, training, evaluation, report, and what one types next."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sinew.cli.main import main

FLAGS = (
    "--size tiny --loop.updates 12 --loop.save-every 4 --loop.log-every 4 --collect.episodes 12 --collect.group 4 "
    "--collect.stills 20 --recipe.episodes 4 --recipe.rounds 0.5 --evaluate.episodes 2 --evaluate.extra 1 "
    "--evaluate.quick 1 --evaluate.videos 1 --workers 2"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a finished run."""
    root = tmp_path_factory.mktemp("runs")
    assert main(["train", "tabletop", *FLAGS.split(), "--out", str(root)]) == 0
    return next(path.parent for path in root.glob("*/state.json"))


def test_everything_promised_is_there(run: Path) -> None:
    wanted = ["README.md", "config.json", "metrics.jsonl", "curves.png", "report.html", "evaluation.json"]
    assert [name for name in wanted if not (run / name).is_file()] == []
    assert (run / "checkpoints" / "last" / "model.safetensors").is_file()
    assert (run / "checkpoints" / "best" / "model.safetensors").is_file()
    assert (run / "videos" / "hero.gif").is_file()
    assert json.loads((run / "state.json").read_text())["phase"] == "done"
    assert set(json.loads((run / "tryouts.json").read_text())) == {"3", "6", "9", "12"}


def test_a_finished_run_is_pointed_to_and_not_touched(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "evaluation.json").read_bytes()
    assert main(["train", "tabletop", *FLAGS.split(), "--out", str(run.parent)]) == 0
    shown = capsys.readouterr().out
    assert "is finished" in shown
    assert [line.strip() for line in shown.splitlines()[-2:]] == [f"sinew play {run}", f"sinew export {run} --to onnx"]
    assert (run / "evaluation.json").read_bytes() == before


def test_it_can_be_measured_again_against_a_checkpoint(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = run / "checkpoints" / "best"
    assert main(["evaluate", str(run), "--against", str(other), "--episodes", "1", "--shield"]) == 0
    shown = capsys.readouterr().out
    assert f"{run} (the first) against {other} (the second)" in shown
    assert "no difference shown" in shown
    assert "ticks changed" in shown


def test_its_report_is_written_again_and_pointed_to(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"Report: {run / 'report.html'}"


def test_a_place_without_a_policy_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "no policy here" in capsys.readouterr().err
