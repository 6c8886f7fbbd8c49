"""Where people clicked: a log of labels in images beside a dataset, and the training targets they give.

A line of the log says of one point in one frame of one camera where it is, that it is hidden there, that
the sentence names no such point, or that an earlier line is taken back. The last line of a point counts.
Lines are only ever appended, whole and flushed; what a killed writer left unfinished is no line.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sinew.core.config import from_dict
from sinew.core.errors import ConfigError, DataError, SinewError
from sinew.core.files import fsync_path
from sinew.data.hold import HOLD, Hold, frames_held
from sinew.data.store import Store

SCHEMA_VERSION = 1
State = Literal["seen", "hidden", "none", "withdrawn"]
Key = tuple[str, int, str, str]
"""Episode, frame, point and camera: what a label is a label of."""


@dataclass(frozen=True)
class Label:
    """What a person said of one point in one image.

    Attributes:
        episode: name of the episode, see ``episode_names``.
        frame: of the episode, counted from 0.
        point: name of the point, such as "target".
        camera: name of the camera.
        state: "seen" at ``place``; "hidden" in this image; "none", the sentence names no such point;
            "withdrawn", as if nothing had been said.
        place: (u, v) in 0 .. 1 of the image, right and down; for "seen" only.
    """

    episode: str
    frame: int
    point: str
    camera: str
    state: State
    place: tuple[float, float] | None = None

    @property
    def key(self) -> Key:
        """What it is a label of."""
        return (self.episode, self.frame, self.point, self.camera)

    def check(self) -> None:
        """Refuse a label that says nothing.

        Raises:
            DataError: a name is empty, the frame negative, or place and state do not go together.
        """
        if not (self.episode and self.point and self.camera) or self.frame < 0:
            raise DataError(f"a label is of {self.key}; episode, point and camera need names, the frame is 0 or more.")
        if (self.place is not None) != (self.state == "seen"):
            raise DataError(f"a label says {self.state!r} at {self.place}; a place goes with 'seen' and with it only.")
        if self.place is not None and not all(0.0 <= value <= 1.0 for value in self.place):
            raise DataError(f"a label lies at {self.place}; right and down are wanted as shares of the image, 0 to 1.")


def labels_path(dataset: Path) -> Path:
    """Return where a dataset's labels lie: inside its folder, or beside its file."""
    return dataset / "labels.jsonl" if dataset.is_dir() else dataset.with_name(f"{dataset.name}.labels.jsonl")


def episode_names(store: Store) -> tuple[str, ...]:
    """Return a name for each episode, its id where that is unique; names stay when the store grows."""
    names: list[str] = []
    taken: set[str] = set()
    for number, record in enumerate(store.records):
        name = record.id if record.id and record.id not in taken else f"{record.id}#{number}"
        taken.add(name)
        names.append(name)
    return tuple(names)


def append(path: Path, labels: Sequence[Label]) -> None:
    """Add labels to a log, all of them or, after a crash, the first few, each whole.

    Several processes may append; each waits for the other. What an earlier one left of a line is cut off.

    Args:
        path: the log; made when missing.
        labels: to add.

    Raises:
        DataError: a label is not valid; nothing is written.
        SinewError: the place cannot be written or the disk is full.
    """
    for label in labels:
        label.check()
    lines = "".join(json.dumps(dataclasses.asdict(label), ensure_ascii=False) + "\n" for label in labels)
    try:
        with path.open("a+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            whole = _whole(file.read() or b"")
            file.truncate(len(whole))
            _write(file.fileno(), (lines if whole else f'{{"schema_version": {SCHEMA_VERSION}}}\n{lines}').encode())
            os.fsync(file.fileno())
        if not whole:
            fsync_path(path.parent)
    except OSError as error:
        raise SinewError(
            f"{path}: could not be extended ({error.strerror}). Labels of before are safe; free some disk space, "
            "or copy the dataset to where you may write."
        ) from error


def read(path: Path) -> dict[Key, Label]:
    """Return the last label of each point, withdrawn ones left out; a missing log holds none.

    Raises:
        DataError: a complete line is no label, or the log is of another schema version.
    """
    try:
        content = _whole(path.read_bytes()) if path.exists() else b""
    except OSError as error:
        raise DataError(f"{path}: could not be read ({error.strerror}).") from error
    found: dict[Key, Label] = {}
    for number, line in enumerate(content.splitlines(), 1):
        entry = _parse(path, number, line)
        if number == 1:
            _check_version(path, entry)
            continue
        label = _label(path, number, entry)
        found.pop(label.key, None)
        if label.state != "withdrawn":
            found[label.key] = label
    return found


def load(path: Path, camera: str | None = None) -> Mapping[tuple[str, int], Mapping[str, tuple[float, float]]]:
    """Return where points were seen: (episode, frame) to point to (u, v) in 0 .. 1, right and down.

    Args:
        path: the log.
        camera: the one wanted; may be left out where only one was labelled.

    Raises:
        DataError: the log cannot be read, or holds several cameras and none is named.
    """
    labels = [label for label in read(path).values() if label.place is not None]
    cameras = sorted({label.camera for label in labels})
    if camera is None and len(cameras) > 1:
        raise DataError(f"{path}: holds labels of the cameras {', '.join(cameras)}. Name the one that is wanted.")
    found: dict[tuple[str, int], dict[str, tuple[float, float]]] = {}
    for label in labels:
        if label.place is not None and camera in (None, label.camera):
            found.setdefault((label.episode, label.frame), {})[label.point] = label.place
    return found


def image_targets(store: Store, path: Path, hold: Hold | None = HOLD) -> dict[str, NDArray[np.float32]]:
    """Return what the labels of a dataset teach, for every frame of its store.

    Args:
        store: the dataset.
        path: its labels.
        hold: how far a label holds for the frames after it (see ``frames_held``); None for its own frame only.

    Returns:
        For each point, under the name ``image.<point>``, (N, 2 C) float32: right and down in 0 .. 1 for each
        of the C cameras in the order of the spec, NaN where nothing is known.

    Raises:
        DataError: a label names an episode, frame or camera that the store does not have.
    """
    labels = read(path)
    episodes = {name: number for number, name in enumerate(episode_names(store))}
    cameras = {name: number for number, name in enumerate(store.spec.cameras)}
    _check_known(path, labels.values(), store, episodes)
    targets = {
        f"image.{point}": np.full((store.num_frames, 2 * len(cameras)), np.nan, dtype=np.float32)
        for point in dict.fromkeys(label.point for label in labels.values() if label.place is not None)
    }
    for label, place, until in _spans(labels.values()):
        record = store.records[episodes[label.episode]]
        begin = record.offset + label.frame
        if hold is None:
            count = 1
        else:
            end = record.offset + min(until, record.frames)
            count = frames_held(store.column(f"images.{label.camera}")[begin:end], place, hold)
        column = 2 * cameras[label.camera]
        targets[f"image.{label.point}"][begin : begin + count, column : column + 2] = place
    return targets


def denied(store: Store, path: Path, point: str) -> NDArray[np.bool_]:
    """Return where people said that a point is not to be seen.

    "hidden" holds from its frame until the next label of the episode, point and camera; "none" in all episodes with
    the same sentence and in all cameras.

    Args:
        store: the dataset.
        path: its labels; a missing log denies nothing.
        point: name of the point.

    Returns:
        (N, 2 C), the columns as in ``image_targets``.

    Raises:
        DataError: a label names an episode, frame or camera that the store does not have.
    """
    labels = [label for label in read(path).values() if label.point == point]
    episodes = {name: store.records[number] for number, name in enumerate(episode_names(store))}
    cameras = {name: number for number, name in enumerate(store.spec.cameras)}
    _check_known(path, labels, store, {name: number for number, name in enumerate(episodes)})
    found = np.zeros((store.num_frames, 2 * len(cameras)), dtype=np.bool_)
    for label, until in _tracks(labels):
        if label.state == "hidden":
            record, column = episodes[label.episode], 2 * cameras[label.camera]
            begin, end = label.frame, min(until, record.frames)
            found[record.offset + begin : record.offset + end, column : column + 2] = True
    silent = {episodes[label.episode].instruction for label in labels if label.state == "none"}
    for record in store.records:
        if record.instruction in silent:
            found[record.offset : record.offset + record.frames] = True
    return found


def _spans(labels: Iterable[Label]) -> Iterator[tuple[Label, tuple[float, float], int]]:
    """Yield each place with the frame at which the next label of its episode, point and camera takes over."""
    for label, until in _tracks(labels):
        if label.place is not None:
            yield label, label.place, until


def _tracks(labels: Iterable[Label]) -> Iterator[tuple[Label, int]]:
    """Yield each label with the frame at which the next one of its episode, point and camera takes over."""
    tracks: dict[tuple[str, str, str], list[Label]] = {}
    for label in sorted(labels, key=lambda label: label.frame):
        tracks.setdefault((label.episode, label.point, label.camera), []).append(label)
    for track in tracks.values():
        for label, after in zip_longest(track, track[1:]):
            yield label, after.frame if after else sys.maxsize


def _check_known(path: Path, labels: Iterable[Label], store: Store, episodes: Mapping[str, int]) -> None:
    for label in labels:
        number = episodes.get(label.episode)
        if number is None:
            problem = f"episode {label.episode}, which {store.path} does not have"
        elif label.frame >= store.records[number].frames:
            problem = f"frame {label.frame} of episode {label.episode}, which has {store.records[number].frames}"
        elif label.camera not in store.spec.cameras:
            problem = f"camera {label.camera}, the robot has {', '.join(store.spec.cameras)}"
        else:
            continue
        raise DataError(f"{path}: labels {problem}. Use the labels of this dataset, or remove the file.")


def _check_version(path: Path, entry: Any) -> None:  # noqa: ANN401  (any JSON value)
    version = entry.get("schema_version") if isinstance(entry, dict) else None
    if version != SCHEMA_VERSION:
        raise DataError(f"{path}: schema version {version}, this sinew reads {SCHEMA_VERSION}. Update sinew.")


def _parse(path: Path, number: int, line: bytes) -> Any:  # noqa: ANN401  (any JSON value)
    try:
        return json.loads(line)
    except ValueError as error:
        raise DataError(f"{path}: line {number} is not JSON ({error}). Remove the line.") from error


def _label(path: Path, number: int, entry: Any) -> Label:  # noqa: ANN401  (any JSON value)
    try:
        label = from_dict(Label, entry, f"{path}: line {number}")
        label.check()
    except ConfigError as error:
        raise DataError(f"{error}\nRemove the line.") from error
    except DataError as error:
        raise DataError(f"{path}: line {number}: {error} Remove the line.") from error
    return label


def _whole(content: bytes) -> bytes:
    """Return the complete lines."""
    return content[: content.rfind(b"\n") + 1]


def _write(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view.nbytes:
        view = view[os.write(descriptor, view) :]
