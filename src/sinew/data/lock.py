"""A lock file that lets one process write and dies with it."""

from __future__ import annotations

import fcntl
import os
import weakref
from pathlib import Path

from sinew.core.errors import DataError


class WriterLock:
    """Exclusive right to write, held by this process until ``release``, garbage collection or its death.

    The lock is the kernel's (POSIX record lock), so a killed process leaves none behind, and a forked
    worker does not inherit it; the file's content, the holder's process id, is for people.

    Args:
        path: the lock file; it exists while the lock is held.

    Raises:
        DataError: another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self.owner = os.getpid()
        self._finalizer = weakref.finalize(self, _release, _acquire(path), path, self.owner)

    @property
    def held(self) -> bool:
        """Whether this very process holds the lock; False in a fork of the holder."""
        return self._finalizer.alive and self.owner == os.getpid()

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        self._finalizer()


def _acquire(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 32).decode(errors="replace").strip()
            os.close(descriptor)
            raise DataError(
                f"{path.parent}: process {holder or '?'} is writing here. Wait until it has finished, or end it."
            ) from error
        # The last holder may have removed the file between our open and our lock.
        if _same_file(descriptor, path):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            return descriptor
        os.close(descriptor)


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.fstat(descriptor).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def _release(descriptor: int, path: Path, owner: int) -> None:
    if owner == os.getpid():
        path.unlink(missing_ok=True)
    os.close(descriptor)
