"""Recordings killed at random moments, with torn tails, and what recording a frame costs.

Written frames carry running numbers, and the writer notes in shared memory which ones it has finished. It is a fork
that is sent SIGKILL while it opens the directory, saves what the one before left, writes, flushes or renames.
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rows import Row

from sinew.core.errors import SinewError
from sinew.core.types import CameraSpec, RobotSpec
from sinew.data.formats.ingest import read_episode, robot_of
from sinew.data.formats.recording import Recording
from sinew.data.recorder import EpisodeRecorder, Frame
from sinew.data.recording import FRAME, HEADER
from sinew.data.recovery import recover

KILLS, QUICK_KILLS = 200, 40
PER_SET = 20
"""Kills that one directory goes through."""
LONGEST_MS = 300.0
LONGEST_EPISODE = 90
JUMP = 100_000
"""Between the numbers of two writers, so that a frame that was written and not noted is no other one's."""
SIZES = (96, 224)
REPEATS, FRAMES = 9, 200
COMMAND = "python benchmarks/data.py --only recorder"


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (the signature that all parts share)
    """Yield what kills cost, then what frames cost."""
    kills = QUICK_KILLS if quick else KILLS
    lost, unreadable, finished, open_ones = killed(kills)
    note = f"{finished} finished frames; {open_ones} kills left an unfinished episode; tails: {', '.join(TAILS)}"
    yield Row(
        "finished frames lost, kill -9", lost, "frames", bar="0", ok=lost == 0, n=kills, command=COMMAND, note=note
    )
    yield Row("unreadable sets, kill -9", unreadable, "sets", bar="0", ok=unreadable == 0, n=kills, command=COMMAND)
    for size in SIZES:
        cost, end_ms = overhead(size)
        mib = 3 * size * size / 2**20
        yield Row(
            f"CPU time to record a frame of {size} px",
            round(cost, 1),
            "us",
            n=REPEATS * FRAMES,
            command=COMMAND,
            note=f"median of {REPEATS}; {mib / cost * 1e6:.0f} MiB/s; flushing an episode {end_ms:.1f} ms of wall time",
        )


def killed(kills: int) -> tuple[int, int, int, int]:
    """Return frames lost and sets unreadable; frames finished, and kills that left an unfinished episode."""
    draw = random.Random(0)
    totals = np.zeros(4, int)
    for _ in range(-(-kills // PER_SET)):
        with tempfile.TemporaryDirectory() as place:
            totals += killed_set(Path(place) / "set", draw)
    lost, unreadable, finished, open_ones = totals.tolist()
    return lost, unreadable, finished, open_ones


def killed_set(path: Path, draw: random.Random) -> tuple[int, int, int, int]:
    """Return the same of one directory."""
    noted: list[range] = []
    lost: set[int] = set()
    unreadable = open_ones = 0
    for turn in range(PER_SET):
        noted.append(run_and_kill(path, turn * JUMP, draw))
        open_ones += tear(path, draw)
        if turn == PER_SET - 1 or draw.random() < 0.5:  # else the next writer has to, and may be killed at it
            found = numbers(path)
            unreadable += found is None
            lost |= {number for one in noted for number in one} - (found or set())
    return len(lost), unreadable, sum(map(len, noted)), open_ones


def run_and_kill(path: Path, first: int, draw: random.Random) -> range:
    """Record until killed; return the numbers of the frames that were finished."""
    shared = mmap.mmap(-1, 8)
    shared[:] = struct.pack("<q", first)
    child = os.fork()
    if child == 0:
        try:
            write(path, first, shared)
        finally:
            os._exit(1)
    time.sleep(draw.uniform(0.0, LONGEST_MS) / 1000)
    os.kill(child, signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), "the writer failed by itself"
    return range(first, struct.unpack("<q", shared[:])[0])


def write(path: Path, first: int, shared: mmap.mmap) -> None:
    """Record short episodes for ever."""
    spec, number = spec_of(96), first
    image = np.random.default_rng(0).integers(0, 255, (3, 96, 96), dtype=np.uint8)
    with EpisodeRecorder(path, spec) as recorder:
        while True:
            recorder.begin(instruction="go")
            for _ in range(1 + number % LONGEST_EPISODE):
                state = np.array([number, 0], np.float32)
                recorder.add(Frame({"front": image}, state, np.zeros(2, np.float32)))
                number += 1
                shared[:] = struct.pack("<q", number)
            recorder.end(success=True)


TAILS = ("none", "noise", "zeros", "half a frame", "a header of 4 GB")


def tear(path: Path, draw: random.Random) -> bool:
    """Put a torn tail behind an unfinished episode; return whether there was one."""
    found = sorted(path.glob("*.open")) if path.exists() else []
    for file in found:
        tail = {
            "none": b"",
            "noise": draw.randbytes(draw.randrange(1, 60_000)),
            "zeros": bytes(draw.randrange(1, 60_000)),
            "half a frame": HEADER.pack(FRAME, 1, 27_700, 7) + draw.randbytes(13_000),
            "a header of 4 GB": HEADER.pack(FRAME, 1, 2**32 - 1, 7),
        }[draw.choice(TAILS)]
        with file.open("ab") as end:
            end.write(tail)
    return bool(found)


def numbers(path: Path) -> set[int] | None:
    """Save what is unfinished and return the numbers of all frames in the set; None where it cannot be read."""
    try:
        if not path.exists():
            return set()
        recover(path)
        if not any(path.iterdir()):
            return set()
        source = Recording(path)
        spec = robot_of(source)
        episodes = [read_episode(source, number, spec) for number in range(len(source.lengths))]
    except SinewError as error:
        print(f"unreadable: {error}")
        return None
    return {int(value) for episode in episodes for value in episode.state[:, 0]}


def overhead(size: int) -> tuple[float, float]:
    """Return the CPU time of a frame [us] and the wall time of ending an episode [ms], medians."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (8, 3, size, size), dtype=np.uint8)
    state, action = np.zeros(2, np.float32), np.zeros(2, np.float32)
    costs: list[float] = []
    ends: list[float] = []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as place, EpisodeRecorder(Path(place), spec_of(size)) as recorder:
            recorder.begin(instruction="go")
            start = time.process_time()
            for number in range(FRAMES):
                recorder.add(Frame({"front": images[number % 8]}, state, action))
            costs.append((time.process_time() - start) / FRAMES * 1e6)
            start = time.perf_counter()
            recorder.end(success=True)
            ends.append((time.perf_counter() - start) * 1e3)
    return float(np.median(costs)), float(np.median(ends))


def spec_of(size: int) -> RobotSpec:
    """Return a small robot with a camera of that size."""
    return RobotSpec(
        embodiment="bench",
        cameras={"front": CameraSpec(size, size)},
        state=("x", "y"),
        state_units=("m", "m"),
        action=("dx", "dy"),
        action_units=("m", "m"),
        low=(-1.0, -1.0),
        high=(1.0, 1.0),
        hz=30.0,
        kind="delta",
    )
