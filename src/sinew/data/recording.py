"""How a recorded episode lies on disk: a log of entries, each with its length and checksum, written one at a time.

A file is a beginning (JSON: robot, instruction, columns), a frame after another, and an ending (JSON: how it went).
Every entry has a header of 16 bytes, little-endian::

    4 bytes   b"snwB", b"snwF" or b"snwE": beginning, frame, ending
    uint32    frames before this entry
    uint32    bytes of the payload
    uint32    CRC-32 of the 12 bytes above and the payload

A frame's payload is the columns named in the beginning, one after another without gaps. The ending's payload closes
with a uint32, the bytes of the whole entry, so that it is found from the end of the file. What is missing, torn or
changed is seen; nothing but NumPy and the standard library is needed to write or read.
"""

from __future__ import annotations

import json
import os
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.core.types import RobotSpec

SCHEMA_VERSION = 1
HEADER = struct.Struct("<4sIII")
TAIL = struct.Struct("<I")
BEGINNING, FRAME, ENDING = b"snwB", b"snwF", b"snwE"
LARGEST_TEXT = 1 << 20
"""Bytes of a beginning or an ending that are read at most."""
DONE, OPEN = ".rec", ".open"
"""How the file of a finished episode ends, and that of one still being recorded."""
FILE = re.compile(r"episode_(\d{6,})\.(rec|open)")
TYPES = {"<i8", "<f4", "|u1", "<i2", "<u2"}
TIME = "time_ns"
"""Column with the time of a frame since the episode began [ns]."""

Columns = tuple[tuple[str, str, tuple[int, ...]], ...]
"""Name, NumPy type and shape of each part of a frame, in their order."""


@dataclass(frozen=True)
class Beginning:
    """What is known of an episode before its first frame.

    Attributes:
        spec: the robot as JSON values.
        columns: of a frame.
        began: date and time (ISO 8601, UTC).

    The other fields are those of ``Episode``.
    """

    spec: Mapping[str, Any]
    columns: Columns
    instruction: str
    task: str
    source: str
    id: str
    began: str

    @property
    def frame(self) -> np.dtype[Any]:
        """Type of a whole frame entry, header included."""
        return np.dtype([("header", f"V{HEADER.size}"), *self.columns])


@dataclass(frozen=True)
class Ending:
    """How an episode ended.

    Attributes:
        frames: how many there are.
        success: what was said of it, None where nobody said.
        terminated: see ``Episode``.
        final_state: see ``Episode``.
        recovered: the recording was cut off here; this ending was written afterwards.
    """

    frames: int
    success: bool | None
    terminated: bool = False
    final_state: tuple[float, ...] | None = None
    recovered: bool = False


@dataclass(frozen=True)
class Log:
    """What a file holds.

    Attributes:
        beginning: None where not even that is whole.
        frames: whole ones.
        ending: None where it is missing or torn.
        start: byte at which the frames begin.
        whole: byte at which the last whole entry ends.
    """

    beginning: Beginning | None
    frames: int
    ending: Ending | None
    start: int
    whole: int


def columns_of(spec: RobotSpec, target_sizes: Mapping[str, int], *, reward: bool) -> Columns:
    """Return the columns of a robot's frames.

    Args:
        spec: the robot.
        target_sizes: auxiliary labels and how many values each has.
        reward: whether a reward is recorded.
    """
    images = {f"images.{name}": ("|u1", (3, item.height, item.width)) for name, item in spec.cameras.items()}
    sizes = {"state": spec.state_size, "action": spec.action_size, "executed": spec.action_size}
    sizes |= {f"targets.{name}": size for name, size in target_sizes.items()}
    sensors = {
        f"sensors.{name}": (np.dtype(item.dtype).newbyteorder("<").str, tuple(item.shape))
        for name, item in spec.sensors.items()
    }
    rest: dict[str, tuple[str, tuple[int, ...]]] = {"reward": ("<f4", ())} if reward else {}
    parts = {TIME: ("<i8", ()), **images, **{name: ("<f4", (size,)) for name, size in sizes.items()}, **sensors, **rest}
    return tuple((name, kind, shape) for name, (kind, shape) in parts.items())


def seal(whole: memoryview, magic: bytes, number: int) -> memoryview:
    """Write the header of an entry before its payload, in place, and return the entry.

    Args:
        whole: the entry, its first 16 bytes free.
        magic: its kind.
        number: frames before it.
    """
    HEADER.pack_into(whole, 0, magic, number, len(whole) - HEADER.size, 0)
    TAIL.pack_into(whole, HEADER.size - TAIL.size, checksum(whole))
    return whole


def checksum(whole: memoryview) -> int:
    """Return the checksum of an entry."""
    return zlib.crc32(whole[HEADER.size :], zlib.crc32(whole[: HEADER.size - TAIL.size]))


def entry(magic: bytes, number: int, payload: bytes) -> memoryview:
    """Return an entry as it is written."""
    return seal(memoryview(bytearray(HEADER.size) + payload), magic, number)


def text(content: Mapping[str, Any]) -> bytes:
    """Return JSON values as the payload of a beginning."""
    return json.dumps(content, ensure_ascii=False).encode()


def ending_entry(ending: Ending) -> memoryview:
    """Return the entry that ends an episode."""
    content = text({name: value for name, value in vars(ending).items() if name != "frames"})
    return entry(ENDING, ending.frames, content + TAIL.pack(HEADER.size + len(content) + TAIL.size))


def read_log(path: Path) -> Log:
    """Read a file that may be torn, up to its last whole entry; every checksum is compared.

    Raises:
        DataError: it was written by a newer sinew.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        payload = _next(file, BEGINNING, 0, min(size, LARGEST_TEXT))
        beginning = None if payload is None else _beginning(payload, str(path))
        if beginning is None:
            return Log(None, 0, None, 0, 0)
        start = whole = file.tell()
        wanted = beginning.frame.itemsize - HEADER.size
        frames = 0
        while whole + wanted < size and _next(file, FRAME, frames, wanted, exact=True) is not None:
            frames, whole = frames + 1, file.tell()
        file.seek(whole)
        payload = _next(file, ENDING, frames, min(size - whole, LARGEST_TEXT))
        ending = None if payload is None else _ending(payload, frames, str(path))
        return Log(beginning, frames, ending, start, file.tell() if ending is not None else whole)


def read_ends(path: Path) -> tuple[Beginning, Ending, int]:
    """Read beginning and ending of a finished episode, and where its frames begin, without the frames.

    Raises:
        DataError: either is damaged, or the file has another length than they say.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        payload = _next(file, BEGINNING, 0, min(size, LARGEST_TEXT))
        if payload is None:
            raise DataError(f"{path}: does not begin like a recorded episode. Restore the file, or remove it.")
        beginning, start = _beginning(payload, str(path)), file.tell()
        file.seek(max(size - TAIL.size, 0))
        length = TAIL.unpack(file.read(TAIL.size))[0]
        frames, rest = divmod(size - start - length, beginning.frame.itemsize)
        payload = None
        if rest == 0 and frames >= 0:
            file.seek(size - length)
            payload = _next(file, ENDING, frames, LARGEST_TEXT)
        if payload is None:
            raise DataError(
                f"{path}: has no whole ending after {max(frames, 0)} frames; it was cut off, or changed. Restore the "
                f"file, or name it {path.stem}{OPEN} and save its whole frames: sinew data recover {path.parent}"
            )
        return beginning, _ending(payload, frames, str(path)), start


def read_frames(path: Path) -> NDArray[Any]:
    """Read the frames of a finished episode, (T,) of the type ``Beginning.frame``.

    Raises:
        DataError: a frame is damaged; it is named.
    """
    beginning, ending, start = read_ends(path)
    frames = np.fromfile(path, beginning.frame, ending.frames, offset=start)
    body = frames.view(np.uint8).reshape(len(frames), -1)
    for number in range(ending.frames):
        whole = body[number].data
        if HEADER.unpack_from(whole) != (FRAME, number, len(whole) - HEADER.size, checksum(whole)):
            raise DataError(
                f"{path}: frame {number} of {ending.frames} is damaged, its checksum differs. Restore the file; or "
                f"name it {path.stem}{OPEN} and save the frames before: sinew data recover {path.parent}"
            )
    return frames


def episode_files(directory: Path) -> dict[int, Path]:
    """Return the files of finished and open episodes by their numbers, in order; a finished one goes before."""
    found: dict[int, Path] = {}
    with os.scandir(directory) as entries:
        names = sorted(item.name for item in entries)
    for name in names:
        if match := FILE.fullmatch(name):
            number = int(match[1])
            if number not in found or match[2] == DONE[1:]:
                found[number] = directory / name
    return dict(sorted(found.items()))


def _next(file: BinaryIO, magic: bytes, number: int, most: int, *, exact: bool = False) -> bytes | None:
    """Return the payload of the next entry if it is whole, of that kind and number, and no longer than ``most``."""
    head = file.read(HEADER.size)
    if len(head) < HEADER.size:
        return None
    kind, said, length, crc = HEADER.unpack(head)
    if (kind, said) != (magic, number) or length > most or (exact and length != most):
        return None
    payload = file.read(length)
    whole = len(payload) == length and zlib.crc32(payload, zlib.crc32(head[:-4])) == crc
    return payload if whole else None


def _beginning(payload: bytes, where: str) -> Beginning:
    content = _json(payload, where)
    try:
        columns = tuple((str(name), str(kind), tuple(map(int, shape))) for name, kind, shape in content["columns"])
        strange = {kind for _, kind, _ in columns} - TYPES
        if strange:
            raise ValueError(f"columns of type {', '.join(sorted(strange))}")
        words = {name: str(content[name]) for name in ("instruction", "task", "source", "id", "began")}
        beginning = Beginning(spec=dict(content["spec"]), columns=columns, **words)
        if not 0 < beginning.frame.itemsize < 1 << 32:
            raise ValueError(f"frames of {beginning.frame.itemsize} bytes")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{where}: its beginning is not understood ({error}). Restore the file, or remove it."
        ) from error
    return beginning


def _ending(payload: bytes, frames: int, where: str) -> Ending:
    content = _json(payload[: -TAIL.size], where)
    try:
        state, success = content["final_state"], content["success"]
        return Ending(
            frames=frames,
            success=None if success is None else bool(success),
            terminated=bool(content["terminated"]),
            final_state=None if state is None else tuple(map(float, state)),
            recovered=bool(content["recovered"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where}: its ending is not understood ({error}). Restore or remove the file.") from error


def _json(payload: bytes, where: str) -> dict[str, Any]:
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: an entry is not JSON ({error}). Restore the file, or remove it.") from error
    if not isinstance(content, dict):
        raise DataError(f"{where}: an entry holds no JSON object. Restore the file, or remove it.")
    version = content.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        raise DataError(f"{where}: schema version {version}, this sinew reads {SCHEMA_VERSION}. Update sinew.")
    return content
