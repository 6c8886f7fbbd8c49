"""Runs a job in forked children that are killed at chosen moments, and again until it ends; for tests of resuming.

A moment is one of the operating-system calls that Python reports to audit hooks: open, rename, link, remove, ...
The child sends itself SIGKILL just before the chosen one, which is the worst time there is.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

EVENTS = {"open", "os.rename", "os.symlink", "os.mkdir", "os.rmdir", "os.remove", "os.truncate", "shutil.rmtree"}


def run_killed(job: Callable[[Path], str], path: Path, moment: int | None) -> str | None:
    """Run ``job(path)`` in a fork; return its answer, or None when it was killed.

    Args:
        job: what to run; its answer comes back through a file.
        path: its directory; only events below it count.
        moment: number of the event it dies at, None for never.
    """
    answer = path.parent / f"{path.name}.answer"
    child = os.fork()
    if child == 0:
        _watch(path, moment)
        try:
            answer.write_text(job(path))
            os._exit(0)
        except Exception:  # noqa: BLE001  (a fork must not run on in the parent's code)
            traceback.print_exc()
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return None
    if os.WEXITSTATUS(status):
        raise RuntimeError(f"{path}: the job failed, moment {moment}")
    return answer.read_text()


def count_events(job: Callable[[Path], str], path: Path) -> tuple[int, str]:
    """Run a job undisturbed; return how many moments it has, and its answer."""
    answer = run_killed(lambda place: f"{job(place)}\n{_seen}", path, None)
    assert answer is not None
    text, _, events = answer.rpartition("\n")
    return int(events), text


def answers_after_kills(job: Callable[[Path], str], place: Path, step: int) -> Iterator[tuple[int, str]]:
    """Yield every ``step``-th moment and what the job answers when it is killed there and then started again."""
    events, straight = count_events(job, place / "straight")
    yield -1, straight
    for moment in range(0, events, step):
        path = place / f"moment-{moment}"
        killed = run_killed(job, path, moment)
        assert killed is None, f"moment {moment} was never reached"
        again = run_killed(job, path, None)
        assert again is not None
        yield moment, again


_seen = 0


def _watch(path: Path, moment: int | None) -> None:
    below = str(path)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        global _seen
        if event in EVENTS and str(arguments[0]).startswith(below):
            if _seen == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            _seen += 1

    sys.addaudithook(hook)
