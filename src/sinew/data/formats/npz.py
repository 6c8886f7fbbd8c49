"""Arrays in NumPy's .npz files, without pickles and without more memory than the file says and can hold."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from sinew.core.errors import DataError

INFLATION = 1100
"""How many times its bytes on disk an array may be; deflate reaches 1032."""
SLACK = 2**20
"""Bytes that any array may have."""
DAMAGES = (
    OSError,
    EOFError,
    MemoryError,  # zipfile asks for as many bytes as a damaged directory says
    ValueError,
    KeyError,
    TypeError,
    SyntaxError,
    RuntimeError,
    OverflowError,
    RecursionError,
    NotImplementedError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What zipfile and NumPy raise on files that were damaged."""


def npz_names(path: Path) -> tuple[str, ...]:
    """Return the names of the arrays in a file.

    Raises:
        DataError: it is no .npz file, or was cut off.
    """
    with _opened(path) as archive:
        return tuple(name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy"))


def npz_shape(path: Path, name: str) -> tuple[int, ...]:
    """Return the shape of an array, which is not read for it.

    Raises:
        DataError: it is missing, holds Python objects, or claims more bytes than there are.
    """
    with _opened(path) as archive:
        return _head(path, archive, name)[0]


def npz_array(path: Path, name: str) -> NDArray[Any]:
    """Read an array.

    Raises:
        DataError: see ``npz_shape``; or it is damaged.
    """
    with _opened(path) as archive:
        shape, dtype, by_column, start = _head(path, archive, name)
        with archive.open(f"{name}.npy") as member:
            member.read(start)
            values = np.frombuffer(member.read(), dtype)  # read to the end, where the checksum is compared
        return values.reshape(shape, order="F" if by_column else "C")


@contextmanager
def _opened(path: Path) -> Generator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except DAMAGES as error:
        raise DataError(
            f"{path}: cannot be read as .npz ({error}). It may have been cut off while it was written; restore it from "
            "a copy."
        ) from error


def _head(path: Path, archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype[Any], bool, int]:
    """Return shape, type, whether columns come first, and where the values begin."""
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as member:
        version = npy.read_magic(member)
        if version not in ((1, 0), (2, 0)):
            raise DataError(f"{path}: {name} is of .npy version {version}, 1.0 or 2.0 is needed. Save it again.")
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, by_column, dtype = read(member)
        start = member.tell()
    if dtype.hasobject:
        raise DataError(f"{path}: {name} holds Python objects, which are never unpickled. Save it as numbers.")
    wanted, held = math.prod(shape) * dtype.itemsize, info.file_size - start
    packed = min(info.compress_size, path.stat().st_size)
    if wanted != held or min(shape, default=0) < 0 or held > INFLATION * packed + SLACK:
        raise DataError(
            f"{path}: {name} claims {wanted} bytes, {held} are said to lie in {info.compress_size} of the file. It may "
            "have been cut off; restore it from a copy."
        )
    return shape, dtype, by_column, start
