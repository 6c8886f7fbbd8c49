"""Writing to disk so that a crash leaves either the old or the new, never a half."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sinew.core.errors import DataError, SinewError


def fsync_path(path: Path) -> None:
    """Flush a file or directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file atomically: temporary name, fsync, rename.

    Raises:
        SinewError: the disk is full or the place cannot be written.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        fsync_path(path.parent)
    except OSError as error:
        raise SinewError(
            f"{path}: could not be written ({error.strerror}). What was there before, if anything, is untouched."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, content: str) -> None:
    """Replace a text file atomically (UTF-8)."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:  # noqa: ANN401  (any JSON value)
    """Replace a JSON file atomically, indented for people."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> Any:  # noqa: ANN401  (any JSON value)
    """Read a JSON file.

    Raises:
        DataError: the file is missing, unreadable or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file.") from error
    except OSError as error:
        raise DataError(f"{path}: could not be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, endless digits or brackets
        raise DataError(f"{path}: not valid JSON ({error}). Restore the file or remove it and run again.") from error


@contextmanager
def new_directory(path: Path) -> Generator[Path]:
    """Yield a temporary directory that becomes ``path`` on success and vanishes on failure.

    An existing ``path`` is replaced; between the two renames it stands aside under a dotted name, from where
    ``restore_aside`` brings it back.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        temporary.chmod(0o755)
        yield temporary
        for file in sorted(temporary.rglob("*")):
            fsync_path(file)
        fsync_path(temporary)
        replace_directory(temporary, path)
    except OSError as error:
        raise SinewError(f"{path}: could not be written ({error}). What was there before is untouched.") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def replace_directory(source: Path, path: Path) -> None:
    """Move a finished directory into its place, an old one of that name out of it."""
    aside = path.parent / f".{path.name}.old"
    if path.exists():  # else an old one that stands aside since a crash is the only one there is
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
    source.rename(path)
    fsync_path(path.parent)
    shutil.rmtree(aside, ignore_errors=True)


def restore_aside(parent: Path) -> None:
    """Put back every directory that a crash between the two renames of ``replace_directory`` left standing aside."""
    for aside in parent.glob(".*.old"):
        place = parent / aside.name[1 : -len(".old")]
        if aside.is_dir() and not place.exists():
            aside.rename(place)


def point_link(link: Path, target: str) -> None:
    """Make ``link`` a symbolic link to its sibling ``target``, atomically."""
    temporary = link.parent / f".{link.name}.{os.getpid()}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)
    fsync_path(link.parent)


def require_free(path: Path, num_bytes: int, purpose: str) -> None:
    """Refuse to start what the disk cannot hold.

    Args:
        path: where it would be written; need not exist yet.
        num_bytes: how much.
        purpose: for the message.

    Raises:
        SinewError: less than that is free.
    """
    place = path.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < num_bytes:
        raise SinewError(
            f"{path}: {purpose} needs {num_bytes / 1e6:.0f} MB and {free / 1e6:.0f} MB are free. "
            "Free some disk space or choose another place."
        )
