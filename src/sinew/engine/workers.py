"""Worker processes that start clean, die with their parent and never leave it waiting."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any, TypeVar

from sinew.core.errors import TrainingError
from sinew.core.heap import keep_freed_memory
from sinew.core.launch import launched

T = TypeVar("T")


def start_workers(num_workers: int, *, threads: int = 1) -> ProcessPoolExecutor:
    """Return a pool for a ``with`` statement; a worker starts when there is work for it.

    Workers are spawned, so they share nothing; they leave Ctrl-C to the parent and end when it
    does, even by SIGKILL. Leaving the block by an exception cancels what waits and ends what runs;
    a worker that died leaves it as a TrainingError.

    Args:
        num_workers: most processes at a time; 0 means one per core of this process's share.
        threads: CPU threads each of them may use.
    """
    return _Workers(
        num_workers or launched().cores,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(threads,),
    )


class _Workers(ProcessPoolExecutor):
    def map(
        self, fn: Callable[..., T], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[T]:
        """Yield the results in order, as the base class does, but leave cancelling to ``__exit__``.

        A future cancelled from outside while the pool breaks kills the pool's own thread (InvalidStateError).
        """
        if timeout is not None or chunksize != 1:
            return super().map(fn, *iterables, timeout=timeout, chunksize=chunksize)
        waiting = deque(self.submit(fn, *args) for args in zip(*iterables, strict=False))
        return (waiting.popleft().result() for _ in range(len(waiting)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        processes = list((self._processes or {}).values())
        if error is None:
            self.shutdown(wait=True)
            return False
        self.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        self.shutdown(wait=True)
        if isinstance(error, BrokenProcessPool):
            raise TrainingError(
                f"A worker process died ({error}). Most often the machine ran out of memory: try fewer --workers. "
                "The same command goes on from the last checkpoint."
            ) from error
        return False


def _start(threads: int) -> None:
    """Prepare a fresh worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    if "torch" in sys.modules:  # else it reads the environment when it is imported
        sys.modules["torch"].set_num_threads(threads)
    keep_freed_memory()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
