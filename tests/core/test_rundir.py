"""Claiming a run directory."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sinew.core.errors import CheckpointError, DataError
from sinew.core.files import write_json
from sinew.core.rundir import RunDir


@dataclass(frozen=True)
class Part:
    lr: float = 0.1


@dataclass(frozen=True)
class Config:
    seed: int = 0
    workers: int = 0
    part: Part = field(default_factory=Part)


def test_new_then_resume_then_finished(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "a"
    with RunDir(path) as run:
        assert run.claim(Config()) == "new"
        assert run.phase == "collect"
        run.enter("train")
    with RunDir(path) as run:
        assert run.claim(Config(workers=4)) == "resume"
        assert run.phase == "train"
        run.enter("done")
    with pytest.raises(CheckpointError, match="finished"):
        RunDir(path).claim(Config())


def test_a_claim_killed_half_way_goes_on(tmp_path: Path) -> None:
    with RunDir(tmp_path) as run:
        run.claim(Config())
        run.state.unlink()  # it is written last
        (tmp_path / ".config.json.k3x").write_text("{")  # a temporary file of a killed process
    with RunDir(tmp_path) as run:
        assert run.claim(Config()) == "resume"
        assert run.phase == "collect"
    run.config.unlink()
    run.state.unlink(missing_ok=True)
    with RunDir(tmp_path) as run:
        assert run.claim(Config()) == "new"


def test_other_settings_are_named(tmp_path: Path) -> None:
    with RunDir(tmp_path) as run:
        run.claim(Config())
    with pytest.raises(CheckpointError, match=r"part\.lr: 0\.1, 0\.2"):
        RunDir(tmp_path).claim(Config(part=Part(lr=0.2)))


def test_a_foreign_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(CheckpointError, match=r"thesis\.tex"):
        RunDir(tmp_path).claim(Config())
    assert not (tmp_path / "config.json").exists()


def test_a_refused_claim_gives_the_lock_back(tmp_path: Path) -> None:
    with RunDir(tmp_path) as run:
        run.claim(Config())
    with pytest.raises(CheckpointError):
        RunDir(tmp_path).claim(Config(seed=1))
    with RunDir(tmp_path) as run:
        assert run.claim(Config()) == "resume"


HOLD = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from sinew.core.rundir import RunDir
from dataclasses import dataclass
@dataclass
class Config:
    seed: int = 0
run = RunDir(Path(sys.argv[1]))
run.claim(Config())
print("held", flush=True)
time.sleep(60)
"""


def test_two_processes_never_share_a_run_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    import sinew.core

    source = Path(sinew.core.__file__).parents[2]
    command = [sys.executable, "-c", HOLD, str(tmp_path), str(source)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(CheckpointError, match=f"process {holder.pid} is working"):
            RunDir(tmp_path).claim(Config())
    finally:
        holder.kill()
        holder.communicate()
    assert RunDir(tmp_path).claim(Config(), may_differ=("workers", "part")) == "resume"


def test_a_broken_state_file_is_named(tmp_path: Path) -> None:
    with RunDir(tmp_path) as run:
        run.claim(Config())
        run.state.write_text('{"phase": "dance"}')
        with pytest.raises(CheckpointError, match="dance"):
            _ = run.phase


def test_rundir_imports_no_torch() -> None:
    code = "import sys, sinew.core.rundir; sys.exit('torch' in sys.modules)"
    import sinew.core

    source = str(Path(sinew.core.__file__).parents[2])
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": source}, check=False).returncode == 0


def refused(path: Path, *, learned: bool = False) -> str:
    """Claim a directory, write into it, and refuse the run; return what claiming said."""
    with RunDir(path) as run:
        found = run.claim(Config())
        write_json(run.path / "forecast.json", {"start": found})
        if learned:
            run.metrics.write_text("{}")
        raise DataError(found)


def test_a_new_run_that_is_refused_leaves_nothing_and_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "run"
    for _ in range(2):
        with pytest.raises(DataError, match="new"):
            refused(path)
        assert not path.exists()


def test_what_was_learned_or_begun_before_is_kept_when_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="new"):
        refused(tmp_path / "learned", learned=True)
    assert (tmp_path / "learned" / "metrics.jsonl").exists()
    with RunDir(tmp_path / "begun") as begun:
        begun.claim(Config())
    with pytest.raises(DataError, match="resume"):
        refused(tmp_path / "begun")
    assert begun.config.exists()
