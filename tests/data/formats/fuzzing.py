"""Mutated files for every parser of our own: what is read must be whole, what is not must be refused by name.

A parser enters with a line in ``TARGETS``. The suite gives each a few mutations, ``benchmarks/data.py --only fuzz``
CPU-minutes.
"""

from __future__ import annotations

import itertools
import json
import logging
import re
import resource
import shutil
import signal
import struct
import time
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data.formats import bags
from data.formats.pairs import llava, png, row, shard
from data.formats.recordings import COMPLETE, GOLDEN, smooth_episode
from data.formats.samples import SAMPLES, bag
from sinew.core.crc32c import masked
from sinew.core.errors import DataError, SpecError
from sinew.data.formats import FORMATS, TEXT_FORMATS, WRITERS
from sinew.data.formats.ingest import read_episode, robot_of
from sinew.data.recording import HEADER

REFUSED = (DataError, SpecError)
"""What a damaged file may raise; a ``SpecError`` says that a renamed column is none of the spec's."""
HANG_S = 20
"""CPU seconds after which one file counts as a hang."""
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1)
WORDS = (b"-1", b"0", b"1e999", b"NaN", b"null", b"[]", b"{}", b'""', b"99999999999999999999", b'"\\ud800"', b"true")


class HangError(Exception):
    """A parser did not come back."""


@dataclass(frozen=True)
class Target:
    """One parser.

    Attributes:
        write: makes a sound data set in an empty folder and returns its path.
        read: returns a function that reads a data set of that path, whole; it is made before anything is damaged.
        files: patterns of the names of files that are mutated; C libraries' own are left out.
        repair: makes checksums fit again, so that what lies behind them is reached; half of the files go through it.
    """

    write: Callable[[Path], Path]
    read: Callable[[Path], Callable[[], object]]
    files: tuple[str, ...] = ("*",)
    repair: Callable[[bytes], bytes] | None = None


@dataclass
class Outcome:
    """What came of a run of mutations; ``failures`` holds up to ten, with the seed that makes each again."""

    rounds: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    growth_mb: float = 0.0
    failures: list[str] = field(default_factory=list)


def read_source(name: str) -> Callable[[Path], Callable[[], object]]:
    """Return a ``Target.read`` for a format: open, reach, every episode."""

    def prepare(path: Path) -> Callable[[], object]:
        spec = robot_of(FORMATS[name](path))

        def read() -> None:
            source = FORMATS[name](path)
            source.reach()
            for number in range(len(source.lengths)):
                read_episode(source, number, spec)

        return read

    return prepare


def repair_tfrecord(content: bytes) -> bytes:
    """Give every record that can still be told apart the checksums that fit it."""
    out, place = bytearray(content), 0
    while place + 16 <= len(out):
        length = struct.unpack_from("<Q", out, place)[0]
        if length > len(out) - place - 16:
            length = len(out) - place - 16
            struct.pack_into("<Q", out, place, length)
        struct.pack_into("<I", out, place + 8, masked(bytes(out[place : place + 8])))
        struct.pack_into("<I", out, place + 12 + length, masked(bytes(out[place + 12 : place + 12 + length])))
        place += 16 + length
    return bytes(out)


def repair_recording(content: bytes) -> bytes:
    """Give every entry of a recording that can still be told apart the CRC that fits it."""
    out, place = bytearray(content), 0
    while place + HEADER.size <= len(out):
        kind, number, length, _ = HEADER.unpack_from(out, place)
        length = min(length, len(out) - place - HEADER.size)
        end = place + HEADER.size + length
        HEADER.pack_into(out, place, kind, number, length, 0)
        head = bytes(out[place : place + HEADER.size - 4])
        struct.pack_into(
            "<I", out, place + HEADER.size - 4, zlib.crc32(out[place + HEADER.size : end], zlib.crc32(head))
        )
        place = end
    return bytes(out)


def read_records(name: str) -> Callable[[Path], Callable[[], object]]:
    """Return a ``Target.read`` for a format of images with text: every record, decoded."""
    return lambda path: lambda: [record.decode() for record in TEXT_FORMATS[name](path).records()]


def recording(folder: Path) -> Path:
    """Write two short episodes."""
    WRITERS["recording"].write(folder / "out", [smooth_episode(number, 2) for number in range(2)], storage="image")
    return folder / "out"


def lerobot_v2(folder: Path) -> Path:
    """Return a copy of what lerobot 0.3.3 wrote."""
    path = shutil.copytree(GOLDEN / "v21_image", folder / "out")
    (path / "spec.json").write_text(json.dumps(COMPLETE))
    return path


def webdataset(folder: Path) -> Path:
    """Write a shard with two pairs."""
    return shard(
        folder / "a.tar", {"0.png": png(0), "0.txt": b"A ramp.", "1.png": png(1), "1.json": b'{"caption": "x"}'}
    )


def repair_zip(content: bytes) -> bytes:
    """Give members that can still be unpacked the checksums that fit what came of them."""
    out = bytearray(content)
    for head in re.finditer(re.escape(b"PK\x03\x04"), content):
        place = head.start()
        if place + 30 > len(content):
            break
        size, name, extra = (
            *struct.unpack_from("<I", content, place + 18),
            *struct.unpack_from("<HH", content, place + 26),
        )
        body = content[place + 30 + name + extra :]
        try:
            crc = zlib.crc32(zlib.decompressobj(-15).decompress(body[: size or None], 1 << 22))
        except zlib.error:
            continue
        struct.pack_into("<I", out, place + 14, crc)
        entry = content.find(b"PK\x01\x02", place)
        while entry >= 0 and entry + 46 <= len(content):
            if struct.unpack_from("<I", content, entry + 42)[0] == place:
                struct.pack_into("<I", out, entry + 16, crc)
            entry = content.find(b"PK\x01\x02", entry + 4)
    return bytes(out)


TARGETS: dict[str, Target] = {
    "rlds": Target(SAMPLES["rlds"], read_source("rlds"), ("*.json", "*.tfrecord*"), repair_tfrecord),
    "images": Target(SAMPLES["images"], read_source("images"), ("metadata.json", "*.jpg")),
    "mcap": Target(SAMPLES["bag"], read_source("bag"), ("*.mcap", "*.topics.json")),
    "rosbag 1": Target(lambda folder: bag(folder, "ros1_lz4.bag"), read_source("bag"), ("*.bag",)),
    "mcap, not packed": Target(lambda folder: bags.write(folder / "plain.mcap"), read_source("bag"), ("*.mcap",)),
    "rosbag 1, not packed": Target(lambda folder: bags.write(folder / "ros1_none.bag"), read_source("bag"), ("*.bag",)),
    "recording": Target(recording, read_source("recording"), repair=repair_recording),
    "lerobot 2": Target(lerobot_v2, read_source("lerobot"), ("*.json", "*.jsonl")),
    "llava": Target(
        lambda folder: llava(folder / "x", [row(0), row(1)]), read_records("llava"), ("chat.json", "*.png")
    ),
    "webdataset": Target(webdataset, read_records("webdataset"), ("*.tar",)),
    "vd4rl": Target(SAMPLES["vd4rl"], read_source("vd4rl"), ("*.npz",), repair_zip),
}
"""Parsers by name."""


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a damaged copy: bits, bytes, numbers and words changed, pieces cut, doubled, moved or taken out."""
    out = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        if not out:
            break
        place = int(rng.integers(len(out)))
        size = int(min(rng.integers(1, 64), len(out) - place))
        kind = int(rng.integers(9))
        if kind == 0:
            out[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            out[place : place + size] = rng.bytes(size)
        elif kind == 2:
            number = NUMBERS[int(rng.integers(len(NUMBERS)))]
            wide = int(rng.choice([1, 2, 4, 8]))
            out[place : place + wide] = (number & (2 ** (8 * wide) - 1)).to_bytes(wide, "little")
        elif kind == 3:
            del out[place : place + size]
        elif kind == 4:
            out[place:place] = out[place : place + size] * int(rng.integers(1, 20))
        elif kind == 5:
            del out[place:]
        elif kind == 6:
            other = int(rng.integers(len(out)))
            out[place : place + size] = out[other : other + size]
        else:
            _change_word(out, place, rng)
    return bytes(out)


def _change_word(out: bytearray, place: int, rng: np.random.Generator) -> None:
    """Replace the next number or quoted word by something unexpected."""
    match = re.compile(rb'-?\d+|"[^"]*"|true|false|null').search(out, place)
    if match:
        out[match.start() : match.end()] = WORDS[int(rng.integers(len(WORDS)))]


def attack(target: Target, folder: Path, rounds: Iterator[int] | range, *, seed: int = 0) -> Outcome:
    """Read mutated files, one round after the other, and note whatever is neither read nor refused.

    Args:
        target: the parser.
        folder: empty.
        rounds: their numbers; a round depends on seed and number only.
        seed: of the mutations.
    """
    path = target.write(folder)
    read = target.read(path)
    read()
    root = path.parent if path.is_file() else path
    files = sorted(file for kind in target.files for file in root.rglob(kind))
    files = [file for file in files if file.is_file() and not file.name.endswith(("spec.json", "expected.npz"))]
    sound = {file: file.read_bytes() for file in files}
    outcome, before = Outcome(), _peak_mb()
    logging.disable(logging.WARNING)
    for number in rounds:
        rng = np.random.default_rng([seed, number])
        file = files[int(rng.integers(len(files)))]
        content = mutate(sound[file], rng)
        if target.repair is not None and file.suffix != ".json" and rng.integers(2):
            content = target.repair(content)
        file.write_bytes(content)
        started = time.process_time()
        _try(read, outcome, f"round {number} of seed {seed}, {file.name}")
        outcome.slowest_s = max(outcome.slowest_s, time.process_time() - started)
        file.write_bytes(sound[file])
        if len(outcome.failures) >= 10:
            break
    logging.disable(logging.NOTSET)
    outcome.growth_mb = _peak_mb() - before
    return outcome


def for_seconds(seconds: float) -> Iterator[int]:
    """Yield numbers until this process has spent that much CPU time."""
    end = time.process_time() + seconds
    return itertools.takewhile(lambda _: time.process_time() < end, itertools.count())


def _try(read: Callable[[], object], outcome: Outcome, where: str) -> None:
    outcome.rounds += 1
    try:
        with _limited():
            read()
    except REFUSED:
        outcome.refused += 1
    except Exception as error:  # noqa: BLE001  (this is what is looked for)
        outcome.failures.append(f"{where}: {type(error).__name__}: {error}"[:300])


@contextmanager
def _limited() -> Generator[None]:
    """Raise ``HangError`` where the body takes longer than ``HANG_S``."""

    def stop(*_: Any) -> None:  # noqa: ANN401
        raise HangError(f"took longer than {HANG_S} s")

    old = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, HANG_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
