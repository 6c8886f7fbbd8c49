"""Worker processes: clean start, clear death."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import sinew.core
from sinew.core.errors import TrainingError
from sinew.engine.workers import start_workers

SCRIPT = """
import os, sys, time
from sinew.engine.workers import start_workers
if __name__ == "__main__":
    with start_workers(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 60)
        time.sleep(60)
"""


def test_workers_share_the_work_in_order_and_leave_ctrl_c_to_the_parent() -> None:
    with start_workers(1, threads=3) as pool:
        assert list(pool.map(abs, [-3, -1, -2])) == [3, 1, 2]
        assert pool.submit(os.getenv, "OMP_NUM_THREADS").result() == "3"
        worker = pool.submit(os.getpid).result()
        os.kill(worker, signal.SIGINT)
        assert pool.submit(os.getpid).result() == worker


def test_a_dead_worker_is_told_clearly() -> None:
    with pytest.raises(TrainingError, match="worker process died"), start_workers(1) as pool:
        pool.submit(os._exit, 1).result()


def test_a_worker_that_dies_under_a_long_queue_fails_nothing_but_the_work() -> None:
    """The pool marks what waits as failed in a thread of its own, which a future cancelled meanwhile would end."""
    with pytest.raises(TrainingError, match="worker process died"), start_workers(1) as pool:
        assert list(pool.map(_die_at, range(5000)))


def _die_at(number: int) -> int:
    if number == 10:
        os._exit(1)
    return number


def test_leaving_by_an_exception_ends_running_work_at_once() -> None:
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupt_while_working()
    assert time.monotonic() - began < 30


def interrupt_while_working() -> None:
    with start_workers(1) as pool:
        pool.submit(abs, 1).result()
        pool.submit(time.sleep, 60)
        raise KeyboardInterrupt


def test_no_process_starts_before_there_is_work() -> None:
    with start_workers(2) as pool:
        assert not pool._processes


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(sinew.core.__file__).parents[2])}
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()  # returns once the worker, too, has closed the pipe
    deadline = time.monotonic() + 20
    while Path(f"/proc/{worker}").exists() and "zombie" not in Path(f"/proc/{worker}/status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
