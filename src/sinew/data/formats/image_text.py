"""Pairs of images and text: one record, what makes it valid, and what a reader of such data sets answers to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from sinew.core.chat import IMAGE, Turn
from sinew.core.errors import DataError
from sinew.data.formats.pictures import decode

MAX_PICTURE = 64 << 20
"""Bytes of the largest encoded picture that is read."""
MAX_TEXT = 4 << 20
"""Characters of the longest record that is read."""


@dataclass(frozen=True)
class ImageText:
    """Some images and a conversation about them.

    Attributes:
        id: name of the record, for messages.
        images: in the order of their ``<image>`` in the turns, (3, h, w) uint8 RGB each; sizes may differ.
        turns: at least one of them of ``gpt``.
    """

    id: str
    images: tuple[NDArray[np.uint8], ...]
    turns: tuple[Turn, ...]

    def check(self) -> None:
        """Refuse a record that nothing can be learned from.

        Raises:
            DataError: names record and problem: an image of another type or shape, no answer, or images and
                ``<image>`` that do not match in number.
        """
        for number, image in enumerate(self.images):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
                raise DataError(
                    f"record {self.id}: image {number} is {image.dtype} of shape {image.shape}, uint8 of shape "
                    "(3, height, width) is needed."
                )
        check_turns(f"record {self.id}", self.turns, len(self.images))


@dataclass(frozen=True)
class Picture:
    """An image file of a data set: its name, and a call that returns its bytes while the data set is read."""

    name: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class Encoded:
    """A record as a data set holds it, its images not read yet.

    Attributes:
        id: name of the record. where: file and record, for messages.
        pictures: readable until the next record is asked for.
        turns: as in ``ImageText``; checked.
    """

    id: str
    where: str
    pictures: tuple[Picture, ...]
    turns: tuple[Turn, ...]

    def decode(self) -> ImageText:
        """Return the record with its images read.

        Raises:
            DataError: an image is missing or damaged; names file, record and image.
        """
        images = [decode(item.read(), f"{self.where}, image {item.name}") for item in self.pictures]
        return ImageText(self.id, tuple(image.transpose(2, 0, 1) for image in images), self.turns)


class TextSource(Protocol):
    """A data set of images and text, opened for reading; holds no file open between calls, pickles by path.

    Attributes:
        path: file or directory.
    """

    path: Path

    def __init__(self, path: Path) -> None: ...

    @staticmethod
    def detect(path: Path) -> bool:
        """Return whether this looks like a data set of the format."""
        ...

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that records come from; single images in a folder are not listed."""
        ...

    def records(self) -> Iterator[Encoded]:
        """Yield all records in the order of the files, one in memory at a time.

        Raises:
            DataError: damaged, or a record is not valid; names file and record.
        """
        ...


class WritableTextSource(TextSource, Protocol):
    """A format of images and text that is also written."""

    @staticmethod
    def write(path: Path, records: Iterable[ImageText], *, on_record: Callable[[int], None] | None = None) -> None:
        """Write records as a new data set, read one at a time.

        Raises:
            DataError: there is something already, a record is not valid, or there are none.
            SinewError: the place cannot be written.
        """
        ...


def check_turns(where: str, turns: Sequence[Turn], num_images: int) -> None:
    """Refuse a conversation without an answer, or one that names more or fewer images than there are.

    Raises:
        DataError: says which it is.
    """
    if not any(turn.speaker == "gpt" and turn.text.strip() for turn in turns):
        raise DataError(f"{where}: has no answer, no text of gpt. Leave such records out.")
    said = sum(turn.text.count(IMAGE) for turn in turns if turn.speaker == "human")
    if said != num_images:
        raise DataError(
            f"{where}: {num_images} images, but {IMAGE} stands {said} times in what human says. "
            "Write one for each image, at the place where it is looked at."
        )
    if any(turn.speaker == "gpt" and IMAGE in turn.text for turn in turns):
        raise DataError(f"{where}: {IMAGE} stands in what gpt says; images go with questions. Correct the record.")


def turns_of(conversation: Any, where: str) -> tuple[Turn, ...]:  # noqa: ANN401  (any JSON value)
    """Return the turns of a list of ``{"from": "human" | "gpt", "value": text}``.

    Raises:
        DataError: it is something else.
    """
    if not isinstance(conversation, list) or not conversation:
        raise DataError(
            f'{where}: conversations is no list of turns. Write [{{"from": "human", "value": "..."}}, ...].'
        )
    turns: list[Turn] = []
    for number, item in enumerate(cast("list[Any]", conversation)):
        speaker, text = (item.get("from"), item.get("value")) if isinstance(item, dict) else (None, None)
        if speaker not in ("human", "gpt") or not isinstance(text, str):
            raise DataError(
                f"{where}: turn {number} is {str(item)[:80]!r}, from (human or gpt) and value (text) are needed."
            )
        turns.append(Turn(speaker, text))
    return tuple(turns)
