"""One metadata.json with an entry a frame, and a folder of images.

Layout::

    metadata.json    a list of {"image_id", "instruction", "action", "language_tokens", "sequence_id", "timestamp"}
    images/<image_id>.jpg     or .jpeg, .png
    spec.json                 the RobotSpec, as far as the data do not tell it; ours

Entries lie in any order: those of one ``sequence_id`` are an episode, in the order of ``timestamp``, which may be
seconds or numbers but must rise evenly. ``language_tokens`` belong to some other tokeniser and are ignored with a
warning; the sentence is tokenised again. Neither state nor success is in this layout.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.core.files import read_json
from sinew.core.types import RobotSpec
from sinew.data.episode import Episode
from sinew.data.formats.pictures import Picture, decode, scale
from sinew.data.formats.robot import Facts, match_cameras
from sinew.data.formats.source import range_of

NEEDED = ("image_id", "instruction", "action", "sequence_id", "timestamp")
TOKENS = "language_tokens"
SUFFIXES = (".jpg", ".jpeg", ".png")
CAMERA = "camera"
GAP = 1.5
"""How many times the usual step of time two frames may lie apart."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One frame: where it stands in the list, and what it says."""

    number: int
    image: str
    instruction: str
    action: tuple[float, ...]
    sequence: str
    time: float


class ImageFolder:
    """Reads the layout above; see ``Source``."""

    judged = False

    def __init__(self, path: Path) -> None:
        self.path = path
        content = read_json(path / "metadata.json")
        if not isinstance(content, list) or not content:
            raise DataError(f"{path / 'metadata.json'}: a list of frames is needed. Restore the file.")
        entries = [self._entry(number, item) for number, item in enumerate(content)]
        keys = {key for item in content for key in item}
        if TOKENS in keys:
            log.warning("%s: %s are ignored; the sentence is tokenised again.", path / "metadata.json", TOKENS)
        self.unread = tuple(sorted(key for key in keys if key not in NEEDED))
        groups: dict[str, list[Entry]] = {}
        for entry in entries:
            groups.setdefault(entry.sequence, []).append(entry)
        self.names = tuple(groups)
        self._episodes = [self._ordered(name, frames) for name, frames in groups.items()]
        self.lengths = tuple(len(frames) for frames in self._episodes)
        self.instructions = tuple(frames[0].instruction for frames in self._episodes)
        self.tasks = self.instructions
        first = self._picture(self._episodes[0], 0)
        self.facts = Facts(
            action_size=len(entries[0].action),
            state_size=0,
            cameras={CAMERA: (first.shape[0], first.shape[1])},
        )

    @staticmethod
    def detect(path: Path) -> bool:
        """Return whether a directory holds metadata.json and images."""
        return (path / "metadata.json").is_file() and (path / "images").is_dir()

    @staticmethod
    def spec_file(path: Path) -> Path:
        """Return ``spec.json`` in the directory."""
        return path / "spec.json"

    @property
    def files(self) -> tuple[Path, ...]:
        """The list and the images that it names."""
        images = [self._file(frames, number) for frames in self._episodes for number in range(len(frames))]
        return (self.path / "metadata.json", *images)

    def reach(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the smallest and the largest action, (A,) each."""
        rows = {self._where(name): _actions(frames) for name, frames in zip(self.names, self._episodes, strict=True)}
        return range_of(rows, self.facts.action_size)

    def episode(self, number: int, spec: RobotSpec) -> Episode:
        """Read one episode."""
        frames, name = self._episodes[number], self.names[number]
        match_cameras(str(self.path), list(spec.cameras), [CAMERA])
        camera = next(iter(spec.cameras))
        size = (spec.cameras[camera].height, spec.cameras[camera].width)
        images = np.empty((len(frames), 3, *size), np.uint8)
        for frame in range(len(frames)):
            picture = self._picture(frames, frame)
            if picture.shape[:2] != self.facts.cameras[CAMERA]:
                raise DataError(
                    f"{self._file(frames, frame)}: is {picture.shape[0]} x {picture.shape[1]} px, the first image of "
                    f"the data set is {' x '.join(map(str, self.facts.cameras[CAMERA]))}. Keep one folder a size."
                )
            images[frame] = scale(picture, size).transpose(2, 0, 1)
        action = _actions(frames)
        return Episode(
            spec=spec,
            images={camera: images},
            state=np.zeros((len(frames), 0), np.float32),
            action=action,
            executed=action,
            instruction=self.instructions[number],
            task=self.instructions[number],
            success=True,
            source=self.path.resolve().name,
            id=name,
        )

    def _where(self, name: str) -> str:
        return f"{self.path / 'metadata.json'}: sequence {name}"

    def _entry(self, number: int, item: Any) -> Entry:  # noqa: ANN401  (any JSON value)
        """Return an entry of the list, checked."""
        where = f"{self.path / 'metadata.json'}: entry {number}"
        absent = [name for name in NEEDED if name not in item] if isinstance(item, dict) else list(NEEDED)
        if absent:
            raise DataError(f"{where} has no {', '.join(absent)}. Write it, or leave the frame out.")
        action, time, image = item["action"], item["timestamp"], item["image_id"]
        plain = isinstance(action, list) and bool(action) and all(_is_number(value) for value in action)
        if not plain or not _is_number(time) or not np.isfinite(time):
            raise DataError(
                f"{where}: action is {action!r:.80} and timestamp {time!r:.40}; a list of numbers and one are needed."
            )
        if not isinstance(item["instruction"], str):
            raise DataError(f"{where}: instruction is {item['instruction']!r:.80}, a sentence is needed.")
        if not isinstance(image, str | int) or not isinstance(item["sequence_id"], str | int):
            raise DataError(
                f"{where}: image_id is {image!r:.40} and sequence_id {item['sequence_id']!r:.40}; names are needed."
            )
        name = str(image)
        if not name or Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
            raise DataError(f"{where}: image_id {name!r:.80} leads out of the folder images. Correct it.")
        return Entry(
            number, name, item["instruction"].strip(), tuple(map(float, action)), str(item["sequence_id"]), float(time)
        )

    def _ordered(self, name: str, frames: list[Entry]) -> list[Entry]:
        """Return the frames of a sequence in order of time.

        Raises:
            DataError: times come twice or leave a gap, the sentence changes, or actions differ in size.
        """
        frames = sorted(frames, key=lambda entry: entry.time)
        steps = np.diff([entry.time for entry in frames])
        where, usual = self._where(name), float(np.median(steps)) if len(steps) else 0.0
        for frame, step in enumerate(steps, 1):
            if step <= 0 or step > GAP * usual:
                problem = "has the same time as the one before" if step <= 0 else f"comes {step:g} after the one before"
                raise DataError(
                    f"{where}, frame {frame} (entry {frames[frame].number}): {problem}, the usual step is {usual:g}. "
                    "Split the sequence there, or restore the frames between."
                )
        for frame, entry in enumerate(frames):
            if entry.instruction != frames[0].instruction:
                raise DataError(
                    f"{where}, frame {frame}: the instruction changes from {frames[0].instruction!r} to "
                    f"{entry.instruction!r}. Split the sequence there."
                )
            if len(entry.action) != len(frames[0].action):
                raise DataError(
                    f"{where}, frame {frame}: action has {len(entry.action)} values, {len(frames[0].action)} before. "
                    "Record it again."
                )
        return frames

    def _file(self, frames: Sequence[Entry], frame: int) -> Path:
        """Return the image of a frame; the first suffix is right where none is there."""
        stems = [self.path / "images" / f"{frames[frame].image}{suffix}" for suffix in SUFFIXES]
        return next((file for file in stems if file.is_file()), stems[0])

    def _picture(self, frames: Sequence[Entry], frame: int) -> Picture:
        where = f"{self._where(frames[frame].sequence)}, frame {frame}"
        try:
            file = self._file(frames, frame)
            return decode(file.read_bytes(), f"{where}: {file}")
        except OSError as error:
            raise DataError(
                f"{where}: the image {frames[frame].image} cannot be read ({error.strerror}). Restore the file."
            ) from error


def _is_number(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63)


def _actions(frames: Sequence[Entry]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what becomes infinite is refused by the episode's own check
        return np.array([entry.action for entry in frames], np.float64).astype(np.float32)
