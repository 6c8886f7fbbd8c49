"""kill -9 in the middle of anything, then the same command again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import sinew.core


def test_killed_anywhere_a_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    script = Path(__file__).parent / "killed_run.py"
    environment = {**os.environ, "PYTHONPATH": str(Path(sinew.core.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(tmp_path), "10"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
