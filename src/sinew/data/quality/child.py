"""Runs what reads foreign files in a process of its own, so that a crash or a hang there is an answer, not the end."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sinew.core.machine import inspect_machine

Work = Callable[..., Iterator[Any]]
"""A function of a module, whose arguments can be pickled, that yields JSON values."""


@dataclass(frozen=True)
class Died:
    """The process ended before its work did.

    Attributes:
        hung: it said nothing for too long and was ended.
        words: how it ended, and the last it wrote.
    """

    hung: bool
    words: str


def answers(work: Work, *arguments: Any, patience: float) -> Iterator[Any]:  # noqa: ANN401  (any JSON value)
    """Yield what a piece of work yields in a child process, and a ``Died`` where that does not reach its end.

    The child may take no more memory than is free, so that one file that unpacks to more is an error in it
    and not the end of other programs.

    Args:
        work: what to run.
        arguments: for it.
        patience: seconds between two answers after which it counts as hanging.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        words = Path(folder) / "stderr"
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(theirs, words, work, arguments), daemon=True)
        process.start()
        theirs.close()
        try:
            yield from _listen(ours, process, words, patience)
        finally:
            ours.close()
            process.kill()
            process.join()
            process.close()


def _listen(pipe: Connection, process: Any, words: Path, patience: float) -> Iterator[Any]:  # noqa: ANN401
    while True:
        if not pipe.poll(patience):
            yield Died(hung=True, words=f"no answer for {patience:g} s")
            return
        try:
            answer = json.loads(pipe.recv_bytes())
        except EOFError:
            process.join(patience)
            yield Died(hung=False, words=_epitaph(process.exitcode, words))
            return
        if answer == "end":
            return
        yield answer["answer"]


def _run(pipe: Connection, words: Path, work: Work, arguments: tuple[Any, ...]) -> None:
    """Do the work in the child, whose own words go to a file."""
    file = os.open(words, os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(file, stream)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    _limit_memory()
    for answer in work(*arguments):
        pipe.send_bytes(json.dumps({"answer": answer}).encode())
    pipe.send_bytes(b'"end"')


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    free = inspect_machine(Path()).memory_free
    if free:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = int(0.9 * free)
        resource.setrlimit(resource.RLIMIT_DATA, (most if hard < 0 else min(most, hard), hard))


def _epitaph(code: int | None, words: Path) -> str:
    """Return how a process ended, and the last line it wrote."""
    how = f"it ended with status {code}"
    if code is not None and code < 0:
        how = f"it was ended by {signal.Signals(-code).name}"
    last = words.read_text(errors="replace").strip().splitlines()[-1:] if words.exists() else []
    return how + (f" ({last[0][:300]})" if last else "")
