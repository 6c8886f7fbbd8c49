"""HDF5 files opened so that whatever is wrong with one is a ``DataError``, and written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError, SinewError, require
from sinew.core.files import fsync_path

MAGIC = b"\x89HDF\r\n\x1a\n"
INFLATION = 1100
"""How many times the bytes on disk an array may be; deflate, the tightest common filter, reaches 1032."""
SLACK = 2**20
"""Bytes that any array may have."""


def is_hdf5(path: Path) -> bool:
    """Return whether a file begins like HDF5."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def holds(path: Path, *names: str) -> bool:
    """Return whether this is a readable HDF5 file with all of these groups or arrays."""
    if not is_hdf5(path):
        return False
    try:
        with opened(path) as file:
            return all(name in file for name in names)
    except DataError:
        return False  # the reader that takes every HDF5 file says what is wrong


@contextmanager
def opened(path: Path, name: str = "") -> Generator[Any]:
    """Yield the open file; whatever h5py finds wrong with it is an error that names file and episode.

    Args:
        path: the file.
        name: of the episode that is read, for messages.

    Raises:
        DataError: it is missing, damaged or cut off.
    """
    h5py = require("h5py", extra="formats")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, ArithmeticError, MemoryError) as error:
        raise DataError(
            f"{path}:{f' {name}:' if name else ''} cannot be read as HDF5 ({error}). It may have been cut off while "
            "it was written; restore it from a copy."
        ) from error


def array_in(group: Any, field: str, where: str) -> Any:  # noqa: ANN401  (h5py has no types)
    """Return an array of a group, not yet read.

    Args:
        group: open file or group.
        field: name of the array, with slashes for groups inside.
        where: file and episode, for messages.

    Raises:
        DataError: it is missing, a group, never written, or claims far more bytes than lie on disk.
    """
    if field not in group:
        raise DataError(f"{where} has no {field}. Write it, or leave the episode out.")
    array = group[field]
    if not hasattr(array, "shape") or array.shape is None:
        raise DataError(f"{where}: {field} is a group or empty, an array is needed.")
    wanted, stored = array.size * array.dtype.itemsize, array.id.get_storage_size()
    if wanted and (stored == 0 or wanted > INFLATION * stored + SLACK):
        raise DataError(
            f"{where}: {field} claims {wanted} bytes, but {stored} lie in the file. It was never fully written; "
            "restore it from a copy."
        )
    return array


def values_in(group: Any, field: str, where: str) -> NDArray[Any]:  # noqa: ANN401
    """Read a whole array of a group.

    Raises:
        DataError: see ``array_in``.
    """
    return np.asarray(array_in(group, field, where))


@contextmanager
def new_file(path: Path) -> Generator[Any]:
    """Yield an HDF5 file that gets its name when it is whole, and vanishes otherwise."""
    h5py = require("h5py", extra="formats")
    temporary = path.parent / f".{path.name}.{os.getpid()}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(temporary, "w") as file:
            yield file
        fsync_path(temporary)
        temporary.replace(path)
        fsync_path(path.parent)
    except OSError as error:
        raise SinewError(f"{path}: could not be written ({error}).") from error
    finally:
        temporary.unlink(missing_ok=True)
