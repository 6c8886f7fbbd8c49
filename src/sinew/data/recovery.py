"""Finishes what a killed recorder left behind."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from sinew.core.errors import DataError, SinewError
from sinew.core.files import fsync_path
from sinew.data.lock import WriterLock
from sinew.data.recording import (
    BEGINNING,
    DONE,
    HEADER,
    OPEN,
    Ending,
    Log,
    ending_entry,
    episode_files,
    read_log,
)

REST = ".rest"
"""How a file ends that keeps what could not be understood; nothing reads it."""


@dataclass(frozen=True)
class Recovered:
    """An episode whose recording had been cut off.

    Attributes:
        path: its file now, None where no frame was whole.
        frames: whole ones.
        rest: file with what lay behind them, where that was more than one torn frame: then the disk has lost
            something, not the recorder.
    """

    path: Path | None
    frames: int
    rest: Path | None = None


def recover(directory: Path) -> tuple[Recovered, ...]:
    """Save the whole frames of what a killed recorder left in a directory.

    Raises:
        DataError: another process records there, or there is no such directory.
    """
    if not directory.is_dir():
        raise DataError(f"{directory}: no such directory. Give the one that was recorded to.")
    lock = WriterLock(directory / "writer.lock")
    try:
        return finish(directory)
    finally:
        lock.release()


def finish(directory: Path) -> tuple[Recovered, ...]:
    """Do what ``recover`` does, for whoever holds the writer's lock."""
    return tuple(_save(path) for path in episode_files(directory).values() if path.suffix == OPEN)


def _save(path: Path) -> Recovered:
    """Finish an unfinished episode after its last whole frame; where there is none, its file goes."""
    log = read_log(path)
    if log.beginning is None or log.frames == 0:
        if _torn(path, log):
            path.unlink()
            return Recovered(None, 0)
        return Recovered(None, 0, path.rename(_free(path)))
    try:
        rest = None if _torn(path, log) else _keep_rest(path, log.whole)
        file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.ftruncate(file, log.whole)
            ending = b"" if log.ending is not None else ending_entry(Ending(log.frames, None, recovered=True))
            if os.pwrite(file, ending, log.whole) < len(ending):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except BaseException:
            os.close(file)
            raise
    except OSError as error:
        raise SinewError(
            f"{path}: its {log.frames} whole frames could not be finished ({error.strerror}). Free some space first."
        ) from error
    return Recovered(commit(path, file), log.frames, rest)


def _torn(path: Path, log: Log) -> bool:
    """Return whether no more than one entry is missing at the end, as a killed recorder leaves it."""
    size = path.stat().st_size
    if log.beginning is not None:
        return size - log.whole < log.beginning.frame.itemsize
    with path.open("rb") as file:
        head = file.read(HEADER.size)
    return len(head) < HEADER.size or (head[:4] == BEGINNING and size < HEADER.size + HEADER.unpack(head)[2])


def _keep_rest(path: Path, start: int) -> Path:
    """Copy what lies behind a byte of a file into one beside it."""
    place = _free(path)
    with path.open("rb") as source, place.open("xb") as target:
        source.seek(start)
        shutil.copyfileobj(source, target)
        target.flush()
        os.fsync(target.fileno())
    return place


def _free(path: Path) -> Path:
    """Return a name for the rest of an episode's file that nothing has yet."""
    names = (path.with_suffix(f".{number}{REST}") for number in itertools.count())
    return next(name for name in names if not name.exists())


def commit(path: Path, file: int) -> Path:
    """Flush an episode's file to the disk, close it and give it its final name.

    Raises:
        SinewError: the disk is full or fails; the file keeps its open name.
    """
    done = path.with_suffix(DONE)
    try:
        os.fsync(file)
        os.close(file)
        path.rename(done)
        fsync_path(path.parent)
    except OSError as error:
        raise SinewError(f"{path}: could not be finished ({error.strerror}). Look after the disk.") from error
    return done
