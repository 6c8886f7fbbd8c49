"""When a log is read: its episodes, their ticks, and which message each tick takes of a topic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.data.formats.log_file import Log
from sinew.data.formats.log_values import decode_log, text_in
from sinew.data.formats.topic_map import Split, TopicMap

SECOND = 10**9
Span = tuple[int, int]
"""From when to before when something lasts [ns]."""


@dataclass(frozen=True)
class Part:
    """One episode of a log.

    Attributes:
        log: where it is. name: of the episode. span: its first and last moment [ns].
        ticks: when it is read, (T,) [ns].
        stale: how old a message may be at a tick [ns].
    """

    log: Log
    name: str
    span: Span
    ticks: NDArray[np.int64]
    stale: int

    @property
    def where(self) -> str:
        """File and episode, for messages."""
        return f"{self.log.path}: {self.name}"

    def before(self, topic: str) -> NDArray[np.int64]:
        """Return the message of a topic that each tick takes, (T,): the last one not after it.

        Raises:
            DataError: it is older than allowed; names episode and frame.
        """
        stamps = self.log.stamps(topic)
        use = np.searchsorted(stamps, self.ticks, "right") - 1
        self._check(topic, self.ticks - stamps[np.maximum(use, 0)], use < 0)
        return use

    def after(self, topic: str) -> NDArray[np.int64]:
        """Return the first message of a topic at or after each tick, (T,).

        Raises:
            DataError: it comes later than allowed; names episode and frame.
        """
        stamps = self.log.stamps(topic)
        use = np.searchsorted(stamps, self.ticks, "left")
        self._check(topic, stamps[np.minimum(use, len(stamps) - 1)] - self.ticks, use >= len(stamps))
        return use

    def during(self, topic: str) -> NDArray[np.int64]:
        """Return the messages of a topic within the episode, ends included."""
        first, last = np.searchsorted(self.log.stamps(topic), self.span, "left")
        return np.arange(first, last)

    def last(self, topic: str) -> NDArray[np.int64]:
        """Return the last message of a topic before the episode, none or one."""
        first = int(np.searchsorted(self.log.stamps(topic), self.span[0], "left"))
        return np.arange(max(first - 1, 0), first)

    def _check(self, topic: str, ages: NDArray[np.int64], absent: NDArray[np.bool_]) -> None:
        late = np.flatnonzero(absent | (ages > self.stale))
        if len(late):
            frame = int(late[0])
            raise DataError(
                f"{self.where}, frame {frame}: the message of {topic} is {ages[frame] / SECOND:.3g} s away, "
                f"{self.stale / SECOND:g} s are allowed. Messages were lost, or the topic is slower than stale_s in "
                "topics.json says; raise it, or leave the episode out."
            )


def cut_in_parts(log: Log, said: TopicMap) -> Iterator[Part]:
    """Yield the episodes of a log.

    Raises:
        DataError: one has no tick at which all topics are heard, or a gap that no tick could bridge.
    """
    spans = _spans(log, said)
    for number, span in enumerate(spans):
        name = f"{log.path.stem}/{number}" if said.split else log.path.stem
        yield Part(log, name, span, _ticks(log, name, said, span), round(said.stale_s * SECOND))


def _spans(log: Log, said: TopicMap) -> list[Span]:
    """Return when episodes last: the whole log, or as its markers say."""
    ends = [int(log.stamps(topic)[-1]) + 1 for topic in log.channels if len(log.stamps(topic))]
    begins = [int(log.stamps(topic)[0]) for topic in log.channels if len(log.stamps(topic))]
    if not ends:
        raise DataError(f"{log.path}: holds no messages. Leave it out.")
    if said.split is None:
        return [(min(begins), max(ends))]
    marks = list(_marks(log, said.split))
    spans = [
        (stamp, marks[number + 1][0] if number + 1 < len(marks) else max(ends))
        for number, (stamp, begins_one) in enumerate(marks)
        if begins_one
    ]
    if not spans:
        raise DataError(
            f"{log.path}: no message of {said.split.topic} begins an episode. Correct split in topics.json."
        )
    return spans


def _marks(log: Log, split: Split) -> Iterator[tuple[int, bool]]:
    """Yield when something begins (True) or ends."""
    stamps = log.stamps(split.topic)
    words: dict[int, object] = {}
    for topic, number, content in log.read({split.topic: np.arange(len(stamps))}):
        where = f"{log.path}: {topic}, message {number}"
        words[number] = text_in(decode_log(log.channels[topic], content, where), split.field, where)
    for number, stamp in enumerate(stamps.tolist()):
        if split.end is not None and words[number] == split.end:
            yield stamp, False
        elif split.begin is None or words[number] == split.begin:
            yield stamp, True


def _ticks(log: Log, name: str, said: TopicMap, span: Span) -> NDArray[np.int64]:
    """Return the ticks at which all topics are heard."""
    begin, end, count = span[0], span[1], 0
    for topic in said.moving:
        stamps = log.stamps(topic)
        first, after = (int(place) for place in np.searchsorted(stamps, span, "left"))
        if first == after:
            raise DataError(f"{log.path}: {name}: has no message of {topic}. Leave the episode out.")
        held = first and span[0] - int(stamps[first - 1]) <= said.stale_s * SECOND
        begin = max(begin, span[0] if held else int(stamps[first]))
        end = min(end, int(stamps[after - 1]))
        count += after - first
    if end < begin:
        raise DataError(f"{log.path}: {name}: its topics are never heard together. Leave the episode out.")
    wanted = (end - begin) * said.hz / SECOND + 1
    if wanted > (count + 2) * (said.stale_s * said.hz + 1):  # more than messages of that age can fill
        raise DataError(
            f"{log.path}: {name}: lasts {(end - begin) / SECOND:.3g} s with {count} messages, so most are missing, or "
            "the clock of the recorder jumped. Split or correct the log."
        )
    return begin + np.round(np.arange(int(wanted)) * (SECOND / said.hz)).astype(np.int64)
