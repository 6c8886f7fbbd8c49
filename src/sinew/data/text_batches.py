"""Batches of images and text for training: which records an update sees, and their text as token ids."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sinew.core.chat import IMAGE, NO_LOSS, SHARE, Chat, Piece, Turn
from sinew.core.errors import DataError
from sinew.core.types import TextBatch
from sinew.data.sampler import epoch_frames
from sinew.data.text_store import TextStore


@dataclass(frozen=True)
class TextRows:
    """B records of one batch.

    Attributes:
        names: of the records, for messages.
        turns: of each record.
        images: (B, K, 3, h, w) uint8, K of the record with most; zeros where a record has fewer.
        ids: (B,) int64, their numbers in the store.
        instead: of each record, the text that stands where its images were; empty where images are looked at.
    """

    names: tuple[str, ...]
    turns: tuple[tuple[Turn, ...], ...]
    images: NDArray[np.uint8]
    ids: NDArray[np.int64]
    instead: tuple[str, ...] = ()

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

    def packed(
        self, chat: Chat, *, max_tokens: int, pad: int = 0, pairs: int = 0, draws: np.random.Generator | None = None
    ) -> TextBatch[NDArray[np.generic]]:
        """Return the batch with every question answered by itself, many to an image, and ``segment_ids`` (B, N).

        A row holds what its questions share, then each question with its answer; these see what is shared and
        themselves, nothing else (``core.chat.SHARE``). What does not fit within ``max_tokens`` is left out.

        Args:
            chat: how turns become ids.
            max_tokens: N at most.
            pad: id behind the end of a row.
            pairs: questions of a record, drawn without repeating; 0 means all of them in their order.
            draws: source of the draws.

        Raises:
            DataError: the images of a record, or all of its questions, do not fit within ``max_tokens``.
        """
        rows = [self._parts(number, chat, max_tokens, pairs, draws) for number in range(self.num_rows)]
        return self._padded(rows, pad)

    def _parts(
        self, number: int, chat: Chat, max_tokens: int, pairs: int, draws: np.random.Generator | None
    ) -> list[Piece]:
        """Return what is shared and some questions, as many as fit."""
        shared, pieces = self._spoken(chat, number).apart(self.turns[number])
        if pairs and draws is not None:
            pieces = [pieces[place] for place in draws.permutation(len(pieces))[:pairs]]
        row, length = [Piece(shared, [NO_LOSS] * len(shared))], len(shared)
        for piece in pieces:
            if length + len(piece) <= max_tokens:
                row.append(piece)
                length += len(piece)
        if len(row) == 1:
            raise DataError(
                f"record {self.names[number]}: none of its questions fits within {max_tokens} tokens behind the "
                f"{len(shared)} of its images. Allow more tokens, or leave the record out."
            )
        return row

    def _padded(self, rows: Sequence[Sequence[Piece]], pad: int) -> TextBatch[NDArray[np.generic]]:
        longest = max(sum(map(len, row)) for row in rows)
        input_ids = np.full((len(rows), longest), pad, np.int64)
        labels = np.full((len(rows), longest), NO_LOSS, np.int64)
        segments = np.zeros((len(rows), longest), np.int64)
        for number, row in enumerate(rows):
            place = 0
            for part, piece in enumerate(row):
                end = place + len(piece)
                input_ids[number, place:end], labels[number, place:end] = piece.ids, piece.labels
                segments[number, place:end] = SHARE + part
                place = end
        return TextBatch(self.images, input_ids, labels, segments > 0, segments, self.ids)

    def _spoken(self, chat: Chat, number: int) -> Chat:
        """Return how a record becomes ids: with its words in place of an image where it has them."""
        if not self.instead:
            return chat
        return dataclasses.replace(chat, image_ids=tuple(chat.encode(self.instead[number])))

    def _row(self, number: int, chat: Chat, max_tokens: int) -> tuple[list[int], list[int]]:
        turns, chat = self.turns[number], self._spoken(chat, number)
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


def joined(batch: TextBatch[NDArray[np.generic]], *, max_tokens: int, pad: int = 0) -> TextBatch[NDArray[np.generic]]:
    """Return the same records in fewer rows: as many to a row as fit, longest first, none seeing another.

    Args:
        batch: from ``tokenized`` or ``packed``; every record with as many images as the others.
        max_tokens: N at most.
        pad: id behind the end of a row.
    """
    mask = np.asarray(batch.attention_mask, np.bool_)
    ids, labels = (np.asarray(part, np.int64) for part in (batch.input_ids, batch.labels))
    images = np.asarray(batch.images)
    inner = np.asarray(SHARE * mask if batch.segment_ids is None else batch.segment_ids, np.int64)
    lengths = mask.sum(axis=1)
    bins: list[list[int]] = []
    room: list[int] = []
    for record in np.argsort(-lengths, kind="stable").tolist():
        place = next((number for number, free in enumerate(room) if lengths[record] <= free), len(bins))
        if place == len(bins):
            bins.append([])
            room.append(max_tokens)
        bins[place].append(record)
        room[place] -= int(lengths[record])
    longest = max(max_tokens - free for free in room)
    out = [np.full((len(bins), longest), fill, np.int64) for fill in (pad, NO_LOSS, 0)]
    most = max(map(len, bins))
    pictures = np.zeros((len(bins), most, *images.shape[1:]), images.dtype)
    for number, records in enumerate(bins):
        place = 0
        for order, record in enumerate(records):
            end = place + int(lengths[record])
            for whole, part, add in zip(out, (ids, labels, inner), (0, 0, order * SHARE), strict=True):
                whole[number, place:end] = part[record, : end - place] + add
            pictures[number, order] = images[record]
            place = end
    flat = pictures.reshape(len(bins), most * images.shape[1], *images.shape[2:])
    return TextBatch(flat, out[0], out[1], out[2] > 0, out[2])


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
