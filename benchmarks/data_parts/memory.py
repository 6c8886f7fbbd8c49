"""Measures what reading a data set of 10 GB takes of a process's own memory, in a process that does nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rows import ROOT, Row

from sinew.core.files import require_free
from sinew.core.types import CameraSpec, RobotSpec
from sinew.data.episode import Episode
from sinew.data.jpeg import encode
from sinew.data.layout import Record
from sinew.data.store import Store

COMMAND = "python benchmarks/data.py --only memory"
SIZE, LENGTH, TOTAL = 96, 200, 10e9
"""Of images [px], of episodes [frames], and of all images as they are in memory [bytes]."""
BAR = 300
KINDS = {"memory map": "images are holes of a sparse file", "JPEG": "200 noisy pictures over and over"}
SPEC = RobotSpec(
    embodiment="arm",
    cameras={"front": CameraSpec(SIZE, SIZE)},
    state=tuple(f"s{number}" for number in range(7)),
    state_units=("1",) * 7,
    action=tuple(f"a{number}" for number in range(7)),
    action_units=("1",) * 7,
    low=(-1.0,) * 7,
    high=(1.0,) * 7,
    hz=30.0,
    kind="delta",
)
READ = """
import json, sys
from pathlib import Path
import numpy as np
from torch.utils.data import DataLoader
from sinew.data.sampler import BatchSampler
from sinew.data.store import Store
from sinew.data.windows import Windows

def private():
    line = next(line for line in open("/proc/self/status") if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1000

windows = Windows([Store.open(Path(sys.argv[1]))], history=1, horizon=16)
share, before, peak, count, sums = float(sys.argv[2]), private(), 0.0, 0, 0
sampler = BatchSampler(len(windows), 32, seed=0)
for batch in DataLoader(windows, batch_sampler=sampler, collate_fn=lambda batch: batch):
    sums += int(batch.obs.images["front"][:, 0, 0, 0, 0].sum())
    count += len(batch.actions)
    if count % 3200 == 0:
        peak = max(peak, private())
    if count >= share * len(windows):
        break
print(json.dumps([peak, before, count]))
"""


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (the signature that all parts share)
    """Yield one row a way of keeping images."""
    ways = {"memory map": 1.0} if quick else {"memory map": 1.0, "JPEG": 0.1}
    (ROOT / "runs").mkdir(exist_ok=True)
    for way, share in ways.items():
        with tempfile.TemporaryDirectory(dir=ROOT / "runs") as place:
            store = make(Path(place) / "store", jpeg=way == "JPEG")
            words = [sys.executable, "-c", READ, str(store.path), str(share)]
            peak, before, count = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        yield Row(
            f"private memory (RssAnon) of reading 10 GB of images: {way}",
            round(peak),
            "MB",
            bar=f"<= {BAR}",
            ok=peak <= BAR,
            n=count,
            command=COMMAND,
            note=f"{KINDS[way]}; {count} of {store.num_frames} windows; torch imported, {before:.0f} MB at the start",
        )


def make(path: Path, *, jpeg: bool) -> Store:
    """Make a store of that many frames; raw images are holes in a file, JPEG is one episode's over and over."""
    episode = Episode(
        spec=SPEC,
        images={"front": np.zeros((LENGTH, 3, SIZE, SIZE), np.uint8)},
        state=np.zeros((LENGTH, 7), np.float32),
        action=np.zeros((LENGTH, 7), np.float32),
        executed=np.zeros((LENGTH, 7), np.float32),
        instruction="go on",
        task="go",
        success=True,
    )
    Store.create(path, SPEC, jpeg=jpeg).append([episode])
    episodes = round(TOTAL / (LENGTH * 3 * SIZE * SIZE))
    numbers = range(episodes)
    lines = b"".join(Record.of(episode, offset=LENGTH * number, crc=0).line() for number in numbers)
    (path / "episodes.jsonl").write_bytes(lines)
    for name in ("state", "action", "executed"):
        stretch(path / f"{name}.f32", LENGTH * 7 * 4 * episodes)
    if jpeg:
        fill_with_jpeg(path, episodes)
    else:
        stretch(path / "images.front.u8", LENGTH * 3 * SIZE * SIZE * episodes)
    return Store.open(path)


def fill_with_jpeg(path: Path, episodes: int) -> None:
    """Write noisy pictures as the frames of all episodes."""
    ramp = np.linspace(0, 200, SIZE)[None, None] + np.zeros((3, SIZE, 1))
    noisy = [ramp + np.random.default_rng(number).normal(0, 4, ramp.shape) for number in range(LENGTH)]
    blobs = [encode(image.clip(0, 255).astype(np.uint8)) for image in noisy]
    lengths = np.array([len(blob) for blob in blobs])
    require_free(path, int(lengths.sum()) * episodes, "a store of 10 GB")
    with (path / "images.front.jpg").open("wb") as file:
        for _ in range(episodes):
            file.write(b"".join(blobs))
    np.cumsum(np.tile(lengths, episodes)).astype("<i8").tofile(path / "images.front.i64")


def stretch(path: Path, num_bytes: int) -> None:
    """Make a file that long; what is added is a hole."""
    with path.open("r+b") as file:
        file.truncate(num_bytes)
