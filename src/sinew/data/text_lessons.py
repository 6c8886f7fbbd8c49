"""Lessons out of conversations about images: which of them are shown how, and which of their ids are learned."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from sinew.core.chat import IMAGE, NO_LOSS, Chat, Turn
from sinew.core.types import TextBatch, map_arrays
from sinew.data.text_batches import TextRows, text_rows
from sinew.data.text_store import TextStore

X = TypeVar("X")
Y = TypeVar("Y")
Exchanges = Literal["first", "rest", "all"]
Sight = Literal["images", "blank", "words"]
Balance = Literal["token", "answer"]
GREY = 127
"""Value of the pixels of a blank image."""


@dataclass(frozen=True)
class Lesson(Generic[X]):
    """A batch of conversations, with what the device would have to search for.

    Attributes:
        text: ids, labels and images.
        places: (M,) into the flat labels, of the ids that are learned. weights: (M,) of each, together 1.
    """

    text: TextBatch[X]
    places: X
    weights: X

    @property
    def num_rows(self) -> int:
        """Records."""
        return self.text.num_rows

    @property
    def ids(self) -> X | None:
        """Numbers of the records, for dumps."""
        return self.text.ids

    def first(self, count: int, cut: Callable[[Any, int], Any]) -> Lesson[X]:
        """Return the first records and what is learned of them; ``cut`` takes them of a batch."""
        places, weights, labels = (cast("Any", part) for part in (self.places, self.weights, self.text.labels))
        kept = places < count * labels.shape[1]
        return Lesson(cut(self.text, count), places[kept], weights[kept] / weights[kept].sum())

    def map(self, convert: Callable[[X], Y]) -> Lesson[Y]:
        """Return the lesson with every array put through ``convert``."""
        return map_arrays(self, convert)


class Manner(Protocol):
    """How records become lessons; the settings of a recipe say it, see ``PretrainConfig``."""

    @property
    def exchanges(self) -> Exchanges:
        """Which of a record's questions."""
        ...

    @property
    def apart(self) -> int:
        """Questions of a record answered by themselves; 0 keeps a record one conversation."""
        ...

    @property
    def sight(self) -> Sight:
        """What stands where the image was."""
        ...

    @property
    def blank(self) -> float:
        """Share of the records whose images are grey."""
        ...

    @property
    def balance(self) -> Balance:
        """What counts alike."""
        ...


class TextLessons:
    """Makes lessons of the records of a store; a lesson follows from records, seed and update alone.

    Args:
        store: conversations.
        chat: how they become ids.
        manner: what is shown of them, and what counts.
        max_tokens: longest row.
        pad: id behind the end of a row.
        seed: of the questions that are drawn.
        among: numbers of the records to learn from; None means all.
    """

    def __init__(
        self,
        store: TextStore,
        chat: Chat,
        manner: Manner,
        *,
        max_tokens: int,
        pad: int,
        seed: int,
        among: NDArray[np.int64] | None = None,
    ) -> None:
        self.store, self.chat, self.manner = store, chat, manner
        self.max_tokens, self.pad, self.seed = max_tokens, pad, seed
        self.among = np.arange(store.num_records) if among is None else among

    def __len__(self) -> int:
        return len(self.among)

    def lesson(self, places: NDArray[np.int64], update: int) -> Lesson[NDArray[Any]]:
        """Return the lesson of an update.

        Args:
            places: (B,) of its records among those to learn from.
            update: its number, for what is drawn.

        Raises:
            DataError: a record does not fit within the tokens that are allowed.
        """
        rows = self._shown(text_rows(self.store, self.among[places]))
        if self.manner.blank:
            rows = self._greyed(rows, update)
        if self.manner.apart:
            draws = np.random.default_rng((self.seed, 7, update))
            made = rows.packed(
                self.chat, max_tokens=self.max_tokens, pad=self.pad, pairs=self.manner.apart, draws=draws
            )
        else:
            made = rows.tokenized(self.chat, max_tokens=self.max_tokens, pad=self.pad)
        found, weights = learned(np.asarray(made.labels, np.int64), by_answer=self.manner.balance == "answer")
        return Lesson(cast("TextBatch[NDArray[Any]]", made), found, weights)

    def _greyed(self, rows: TextRows, update: int) -> TextRows:
        """Return the records, some of them with grey images."""
        grey = np.random.default_rng((self.seed, 11, update)).random(rows.num_rows) < self.manner.blank
        images = rows.images.copy()
        images[grey] = GREY
        return dataclasses.replace(rows, images=images)

    def _shown(self, rows: TextRows) -> TextRows:
        """Return the records with the exchanges and the sight that are learned from."""
        turns = tuple(exchanges(said, self.manner.exchanges) for said in rows.turns)
        if self.manner.sight == "images":
            return TextRows(rows.names, turns, rows.images, rows.ids)
        told = (next(turn.text for turn in said if turn.speaker == "gpt") for said in rows.turns)
        instead = tuple(told) if self.manner.sight == "words" else ()
        return TextRows(rows.names, turns, rows.images[:, :0], rows.ids, instead)


def exchanges(turns: Sequence[Turn], which: str) -> tuple[Turn, ...]:
    """Return the first question and its answer, or the others with the image put before them, or all."""
    if which == "all":
        return tuple(turns)
    end = next(place for place, turn in enumerate(turns) if turn.speaker == "gpt") + 1
    if which == "first" or len(turns) <= end:
        return tuple(turns[:end])
    first = turns[0].text
    looked = first[: first.rfind(IMAGE) + len(IMAGE)] + "\n" if IMAGE in first else ""
    return (Turn("human", looked + turns[end].text), *turns[end + 1 :])


def learned(labels: NDArray[np.int64], *, by_answer: bool) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the places (M,) in flat labels (B, N) of what is learned, and the weight of each; weights sum to 1.

    Args:
        labels: ``NO_LOSS`` where nothing is learned; the first id of a row never is, as nothing comes before it.
        by_answer: count runs of learned ids alike, however long, instead of every id.
    """
    kept = labels != NO_LOSS
    kept[:, 0] = False
    places = np.flatnonzero(kept)
    if not by_answer:
        return places, np.full(len(places), 1 / max(1, len(places)), np.float32)
    begins = kept & ~np.pad(kept[:, :-1], ((0, 0), (1, 0)))
    run = np.cumsum(begins.ravel())[places] - 1
    lengths = np.bincount(run)
    return places, (1 / (len(lengths) * lengths[run])).astype(np.float32)
