"""Finishes what a killed recorder left behind."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sinew.core.errors import DataError, SinewError
from sinew.core.files import fsync_path
from sinew.data.lock import WriterLock
from sinew.data.recording import DONE, OPEN, Ending, ending_entry, episode_files, read_log


@dataclass(frozen=True)
class Recovered:
    """An episode whose recording had been cut off: its file now, None where no frame was whole, and its frames."""

    path: Path | None
    frames: int


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
    """Finish an unfinished episode after its last whole frame; remove it where there is none."""
    log = read_log(path)
    if log.beginning is None or log.frames == 0:
        path.unlink()
        return Recovered(None, 0)
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.ftruncate(file, log.whole)
        if log.ending is None:
            os.lseek(file, log.whole, os.SEEK_SET)
            os.write(file, ending_entry(Ending(log.frames, None, recovered=True)))
    except OSError as error:
        os.close(file)
        raise SinewError(
            f"{path}: its {log.frames} whole frames could not be finished ({error.strerror}). Free some space first."
        ) from error
    return Recovered(commit(path, file), log.frames)


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
