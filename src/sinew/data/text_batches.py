"""Batches of images and text for training: which records an update sees, and their text as token ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.core.types import TextBatch
from sinew.data.formats.image_text import IMAGE, Turn
from sinew.data.sampler import epoch_frames
from sinew.data.text_store import TextStore

NO_LOSS = -100
"""Stands in the labels where nothing is learned."""
Encode = Callable[[str], Sequence[int]]
"""Returns the ids of a text, without any of start or end: ``lambda text: tokenizer.encode(text).ids``."""


@dataclass(frozen=True)
class Chat:
    """How a conversation becomes token ids.

    Attributes:
        encode: ids of a text.
        image_ids: ids that stand for one image, as many as the model has tokens for it.
        start: text before the first turn.
        start_ids: ids before everything, such as the one that begins a sequence.
        human: text before what human says. gpt: text before what gpt says.
        end_ids: ids after each answer, learned with it, such as the one that ends a sequence.
        plain: of what human says keep the images only, as LLaVA's first stage does (Liu 2023, arXiv:2304.08485).
    """

    encode: Encode
    image_ids: tuple[int, ...]
    start: str = ""
    start_ids: tuple[int, ...] = ()
    human: str = "USER: "
    gpt: str = " ASSISTANT: "
    end_ids: tuple[int, ...] = ()
    plain: bool = False

    def tokenize(self, turns: Sequence[Turn]) -> tuple[list[int], list[int]]:
        """Return ids and labels of a conversation, of one length.

        Labels are the ids themselves where gpt speaks, its ``end_ids`` included, and ``NO_LOSS`` elsewhere; they are
        not shifted. Each piece of text is encoded by itself, so that the same prompt has the same ids when it is
        asked without the answer.
        """
        ids = [*self.start_ids, *(self.encode(self.start) if self.start else ())]
        labels = [NO_LOSS] * len(ids)
        for turn in turns:
            if turn.speaker == "human":
                piece = self._question(turn.text)
                answer: list[int] = []
            else:
                piece = [*self.encode(self.gpt)] if self.gpt and not self.plain else []
                answer = [*self.encode(turn.text), *self.end_ids]
            ids += piece + answer
            labels += [NO_LOSS] * len(piece) + answer
        return ids, labels

    def _question(self, text: str) -> list[int]:
        ids: list[int] = []
        for number, part in enumerate((self.human * (not self.plain) + text).split(IMAGE)):
            ids += self.image_ids if number else ()
            ids += self.encode(part) if part and not self.plain else ()
        return ids


@dataclass(frozen=True)
class TextRows:
    """B records of one batch.

    Attributes:
        names: of the records, for messages.
        turns: of each record.
        images: (B, K, 3, h, w) uint8, K of the record with most; zeros where a record has fewer.
        ids: (B,) int64, their numbers in the store.
    """

    names: tuple[str, ...]
    turns: tuple[tuple[Turn, ...], ...]
    images: NDArray[np.uint8]
    ids: NDArray[np.int64]

    @property
    def num_rows(self) -> int:
        """B."""
        return len(self.turns)

    def tokenized(self, chat: Chat, *, max_tokens: int, pad: int = 0) -> TextBatch[NDArray[np.generic]]:
        """Return the batch with ids, labels and masks (B, N), padded to its longest row.

        A longer conversation is cut at its end; a row whose answers all lie beyond has no loss.

        Args:
            chat: how turns become ids.
            max_tokens: N at most.
            pad: id behind the end of a row.

        Raises:
            DataError: the images of a record do not fit within ``max_tokens``; names it.
        """
        pairs = [self._row(number, chat, max_tokens) for number in range(self.num_rows)]
        longest = max(len(ids) for ids, _ in pairs)
        input_ids = np.full((len(pairs), longest), pad, np.int64)
        labels = np.full((len(pairs), longest), NO_LOSS, np.int64)
        mask = np.zeros((len(pairs), longest), np.bool_)
        for number, (ids, targets) in enumerate(pairs):
            input_ids[number, : len(ids)] = ids
            labels[number, : len(ids)] = targets
            mask[number, : len(ids)] = True
        return TextBatch(images=self.images, input_ids=input_ids, labels=labels, attention_mask=mask, ids=self.ids)

    def _row(self, number: int, chat: Chat, max_tokens: int) -> tuple[list[int], list[int]]:
        turns = self.turns[number]
        ids, labels = chat.tokenize(turns)
        looked = [place for place, turn in enumerate(turns) if turn.speaker == "human" and IMAGE in turn.text]
        if len(ids) > max_tokens and looked:
            upto, _, _ = turns[looked[-1]].text.rpartition(IMAGE)
            needed = len(chat.tokenize([*turns[: looked[-1]], Turn("human", upto + IMAGE)])[0])
            if needed > max_tokens:
                raise DataError(
                    f"record {self.names[number]}: its images end at token {needed}, {max_tokens} are allowed. "
                    f"Allow at least {needed} tokens, or leave the record out."
                )
        return ids[:max_tokens], labels[:max_tokens]


def text_rows(store: TextStore, numbers: Sequence[int] | NDArray[np.int64]) -> TextRows:
    """Return some records of a store as a batch."""
    chosen = np.asarray(numbers, np.int64)
    found, counts = store.images_of(chosen)
    most = int(counts.max(initial=0))
    if (counts == most).all():
        images = found.reshape(len(chosen), most, *found.shape[1:])
    else:
        images = np.zeros((len(chosen), most, *found.shape[1:]), np.uint8)
        images[np.arange(most) < counts[:, None]] = found
    names, turns = zip(*(store.text(int(number)) for number in chosen), strict=True)
    return TextRows(names, turns, images, chosen)


def text_batches(
    store: TextStore, *, batch: int, seed: int, start: int = 0, among: NDArray[np.int64] | None = None
) -> Iterator[TextRows]:
    """Yield batches without end: update k's depends on the seed and k only, so that resuming needs no state.

    Args:
        store: what is read.
        batch: B.
        seed: of the order; every record comes once an epoch.
        start: number of the first update.
        among: numbers of the records to train on, such as ``store.split`` gives; None means all.
    """
    chosen = np.arange(store.num_records) if among is None else among
    while True:
        rows = epoch_frames(start, seed=seed, batch=batch, segments=[(0, len(chosen))])
        yield text_rows(store, chosen[rows])
        start += 1
