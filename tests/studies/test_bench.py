"""The speed report, by the command a user types."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sinew.cli.main import main
from sinew.data.store import Store
from sinew.engine.speed import Speed
from sinew.studies.bench import rows, verdict
from toy_data import SPEC, random_episode

FLAGS = "--size tiny --recipe.batch 8 --device cpu --workers 1 --seconds 0.01"
SPEED = Speed(
    device="cpu",
    dtype="float32",
    threads=2,
    updates=5,
    rows=64,
    seconds={"data": 0.001, "forward": 0.03, "backward": 0.06, "optimiser": 0.009},
    flops=2e9,
    tokens=640,
    peak_flops=1e11,
)


def test_it_prints_numbers_a_program_can_read_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sinew.studies.bench.num_cores", lambda: 1)
    Store.create(tmp_path / "data", SPEC, ("goal",)).append([random_episode(number) for number in range(6)])
    words = ["bench", "bc", "--data", str(tmp_path / "data"), *FLAGS.split(), "--out", str(tmp_path / "runs"), "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 8
    assert sum(found["shares"].values()) == pytest.approx(1.0)
    assert 0 < found["mfu"] < 1
    assert found["flops"] > 0
    assert not list(tmp_path.glob("runs/bc-*"))


def test_the_report_is_simple_arithmetic() -> None:
    shown = dict(rows(SPEED))
    assert shown["samples"] == "640 a second, 64 an update"
    assert shown["tokens"] == "6,400 a second, 10 a sample"
    assert shown["of it backward"] == "60.0 %, 60 ms"
    assert shown["MFU"] == "20.0 % of that peak"
    assert verdict(SPEED) == "Compute-bound: batches take 1.0 %, and backward takes most."


def test_slow_batches_are_named() -> None:
    slow = Speed(**{**vars(SPEED), "seconds": {**SPEED.seconds, "data": 0.1}})
    assert verdict(slow).startswith("Input-bound: 50 %")
