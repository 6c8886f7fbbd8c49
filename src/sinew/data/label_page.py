"""The page on which a person clicks the named things in a handful of frames, and what it asks of the server."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.config import from_dict
from sinew.core.errors import ConfigError, DataError
from sinew.core.local_page import Reply
from sinew.data.labels import Label, State, append, episode_names, read
from sinew.data.store import Store

LATER = 4
"""After so many first frames comes one from later in an episode, where a thing may be held or half hidden."""
MAX_FRAMES = 500


@dataclass(frozen=True)
class Mark:
    """What the page says of one point of one of its frames.

    Attributes:
        item: number of the frame on the page.
        point: one of the page's points.
        state: see ``Label``.
        place: see ``Label``.
    """

    item: int
    point: str
    state: State
    place: tuple[float, float] | None = None


@dataclass(frozen=True)
class Marks:
    """One message of the page: marks that belong together."""

    labels: tuple[Mark, ...]


@dataclass(frozen=True)
class Item:
    """One frame to label: number of the episode, frame of the episode, camera."""

    episode: int
    frame: int
    camera: str


def choose_frames(store: Store, count: int) -> list[tuple[int, int]]:
    """Return (episode, frame) of the frames that are worth a person's time; a longer list begins with a shorter one.

    Sentences take turns and each gives episodes from all over the recording. Most are first frames, where
    nothing is covered yet; some come from later in other episodes. Held-out episodes are left out.

    Args:
        store: the dataset.
        count: how many frames; fewer are returned where there are fewer.
    """
    groups: dict[str, list[int]] = {}
    for number, record in enumerate(store.records):
        if not record.held_out:
            groups.setdefault(record.instruction, []).append(number)
    orders = [[group[place] for place in _spread(len(group))] for group in groups.values()]
    turns = zip_longest(*(orders[place] for place in _spread(len(orders))))
    episodes = [number for turn in turns for number in turn if number is not None]
    longest = max((store.records[number].frames for number in episodes), default=0)
    later = (
        (number, _spread(store.records[number].frames)[step])
        for step in range(1, longest)
        for number in reversed(episodes)
        if step < store.records[number].frames
    )
    return list(islice(_mix([(number, 0) for number in episodes], later), count))


def _mix(first: Sequence[tuple[int, int]], later: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for start in range(0, len(first), LATER):
        yield from first[start : start + LATER]
        yield from islice(later, 1)
    yield from later


def _spread(count: int) -> list[int]:
    """Return 0 .. count - 1 in the order of their reversed bits: 0, then about the middle, then the quarters, ..."""
    bits = (count - 1).bit_length()
    return sorted(range(count), key=lambda number: int(f"{number:0{bits}b}"[::-1], 2))


class LabelPage:
    """Answers the page; give ``get`` and ``post`` to a ``LocalPage``.

    Args:
        store: the dataset.
        path: the log of its labels.
        points: names of what is clicked in each frame, in this order.
        cameras: whose images are shown.
        count: frames to show, of each camera.
        command: what to type when all is labelled.

    Attributes:
        items: the frames.
        finished: set when the person says so.

    Raises:
        ConfigError: a name is empty or double, a camera unknown or the count out of range.
        DataError: there is no episode to show, or the log cannot be read.
    """

    def __init__(
        self,
        store: Store,
        path: Path,
        *,
        points: Sequence[str],
        cameras: Sequence[str] = (),
        count: int = 20,
        command: str = "",
    ) -> None:
        self.store, self.path, self.command = store, path, command
        self.points, self.cameras = tuple(points), tuple(cameras) or tuple(store.spec.cameras)[:1]
        self._check(count)
        self.items = [Item(*frame, camera) for frame in choose_frames(store, count) for camera in self.cameras]
        if not self.items:
            raise DataError(f"{store.path}: holds no episode to label; record some, or lower the share held out.")
        self.names = episode_names(store)
        self.finished = threading.Event()
        read(path)

    def get(self, path: str) -> Reply | None:
        """Answer the page, its content as JSON, and its images."""
        if path == "":
            page = files("sinew.data").joinpath("templates/label.html").read_bytes()
            return Reply(page, "text/html; charset=utf-8")
        if path == "content":
            return Reply.json(self._content())
        parts = path.split("/")
        if len(parts) == 3 and parts[0] == "frame":
            return self._image(*parts[1:])
        return None

    def post(self, path: str, content: Any) -> Reply | None:  # noqa: ANN401  (any JSON value)
        """Take marks, or the word that the work is done.

        Raises:
            ConfigError: the message is not of this form.
            DataError: a mark is of no frame or point of the page, or says nothing.
            SinewError: the log cannot be written.
        """
        if path == "labels":
            marks = from_dict(Marks, content, "message").labels
            append(self.path, [self._label(mark) for mark in marks])
            return Reply.json({"saved": len(marks)})
        if path == "finish":
            return Reply(b"{}", then=self.finished.set)
        return None

    @property
    def labelled(self) -> int:
        """How many frames have an answer for every point."""
        known = read(self.path)
        return sum(all(self._key(item, point) in known for point in self.points) for item in self.items)

    def _content(self) -> dict[str, Any]:
        known = read(self.path)
        items: list[dict[str, Any]] = []
        for item in self.items:
            record, camera = self.store.records[item.episode], self.store.spec.cameras[item.camera]
            marks = {point: known.get(self._key(item, point)) for point in self.points}
            items.append(
                {
                    "episode": item.episode,
                    "frame": item.frame,
                    "frames": record.frames,
                    "camera": item.camera,
                    "instruction": record.instruction,
                    "size": [camera.width, camera.height],
                    "labels": {
                        point: {"state": mark.state, "place": mark.place} for point, mark in marks.items() if mark
                    },
                }
            )
        return {
            "points": self.points,
            "items": items,
            "hz": self.store.spec.hz,
            "several": len(self.cameras) > 1,
            "path": str(self.path),
            "command": self.command,
        }

    def _image(self, number: str, tick: str) -> Reply | None:
        """Return the PNG of a frame of the episode that an item belongs to."""
        if not all(text.isascii() and text.isdigit() and len(text) < 9 for text in (number, tick)):
            return None
        if int(number) >= len(self.items):
            return None
        item = self.items[int(number)]
        record = self.store.records[item.episode]
        if int(tick) >= record.frames:
            return None
        return Reply(_png(self.store.column(f"images.{item.camera}")[record.offset + int(tick)]), "image/png")

    def _key(self, item: Item, point: str) -> tuple[str, int, str, str]:
        return (self.names[item.episode], item.frame, point, item.camera)

    def _label(self, mark: Mark) -> Label:
        if not 0 <= mark.item < len(self.items) or mark.point not in self.points:
            raise DataError(
                f"a mark is of {mark.point!r} in frame {mark.item}; there are {', '.join(self.points)} in "
                f"0 .. {len(self.items) - 1}."
            )
        return Label(*self._key(self.items[mark.item], mark.point), mark.state, mark.place)

    def _check(self, count: int) -> None:
        unknown = sorted(set(self.cameras) - set(self.store.spec.cameras))
        if unknown or not self.cameras or len(set(self.cameras)) != len(self.cameras):
            raise ConfigError(
                f"cameras {', '.join(self.cameras) or 'none'}: the dataset has "
                f"{', '.join(self.store.spec.cameras) or 'none'}; name some of them, each once."
            )
        plain = all(name.isidentifier() for name in self.points)
        if not self.points or not plain or len(set(self.points)) != len(self.points):
            raise ConfigError(
                f"points {', '.join(self.points) or 'none'}: names are wanted, each once, of letters, digits and _, "
                "such as target,goal."
            )
        if not 1 <= count <= MAX_FRAMES:
            raise ConfigError(f"{count} frames: 1 to {MAX_FRAMES} can be shown.")


def _png(image: NDArray[np.uint8]) -> bytes:
    """Return (3, h, w) as a PNG."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(file, "PNG", compress_level=1)
    return file.getvalue()
