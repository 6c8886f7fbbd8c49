"""A run of improvement from the command line's configuration to a checkpoint, stopped and gone on with."""

from __future__ import annotations

import dataclasses
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from run.test_start import config, save_policy
from sinew.core.rundir import RunDir
from sinew.engine.track import read_rows
from sinew.recipes.config import GrpoConfig
from sinew.run import RunConfig
from sinew.run.improving import improve
from sinew.run.start import start_from


def tiny_run(start: Path) -> RunConfig:
    """Two updates of four short episodes."""
    base = config()
    return start_from(
        dataclasses.replace(
            base,
            env=dataclasses.replace(base.world, max_ticks=8),
            recipe=GrpoConfig(scenes=2, group=2, epochs=1, minibatches=1),
            loop=dataclasses.replace(base.loop, updates=2, save_every=1, eval_at=()),
        ),
        start,
    )


def run(settings: RunConfig, path: Path) -> bytes:
    """Improve to the end and return the weights."""
    with RunDir(path) as rundir, ThreadPoolExecutor(1) as pool:
        rundir.claim(settings)
        improve(settings, rundir, command="sinew train", pool=pool)
    return (path / "checkpoints" / "last" / "model.safetensors").read_bytes()


def test_a_run_of_improvement_goes_on_where_it_stopped_and_says_what_it_started_from(tmp_path: Path) -> None:
    settings = tiny_run(save_policy(tmp_path / "start"))
    straight = run(settings, tmp_path / "straight")
    run(settings, tmp_path / "stopped")
    shutil.rmtree(tmp_path / "stopped" / "checkpoints" / "2")  # as a kill before it was written leaves it
    assert run(settings, tmp_path / "stopped") == straight
    rows = [row for row in read_rows(tmp_path / "stopped" / "metrics.jsonl") if "score" not in row]
    assert [row["update"] for row in rows] == [1, 2]
    assert all(0 <= row["return"] <= 1 and 0 <= row["kept"] <= 1 for row in rows)
    assert str(tmp_path / "start") in (tmp_path / "stopped" / "README.md").read_text()
    assert list((tmp_path / "stopped" / "data").iterdir()) == []
