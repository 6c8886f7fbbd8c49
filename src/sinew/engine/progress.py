"""What training looks like in a terminal: one live line; elsewhere a plain line now and then."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

PLAIN_EVERY_S = 10.0


class Progress:
    """Shows rows of metrics as they come; its bound methods are the trainer's ``on_log`` and ``on_note``.

    Args:
        updates: length of the run.
        console: where to write; standard output when None.
    """

    def __init__(self, updates: int, *, console: Console | None = None) -> None:
        self.updates = updates
        self.console = console or Console(highlight=False)
        self._live: Live | None = None
        self._losses: deque[float] = deque(maxlen=10)
        self._first: tuple[int, float] | None = None
        self._printed = float("-inf")
        self._score: float | None = None

    def __enter__(self) -> Progress:
        """Start the live line, on a terminal."""
        if self.console.is_terminal:
            self._live = Live(Text("starting"), console=self.console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last line standing."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, row: Mapping[str, Any]) -> None:
        """Take a row of metrics.jsonl."""
        if "loss" not in row:
            self._score = row.get("score", self._score)
            return
        self._losses.append(row["loss"])
        line = self.line(row)
        if self._live is not None:
            self._live.update(Text(line))
        elif time.monotonic() - self._printed >= PLAIN_EVERY_S or row["update"] >= self.updates:
            self._printed = time.monotonic()
            self.console.print(line, markup=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """Print a sentence above the line."""
        self.console.print(text, markup=False, soft_wrap=True)

    def line(self, row: Mapping[str, Any]) -> str:
        """Return one row as a line for people."""
        update, elapsed = int(row["update"]), float(row.get("elapsed_s", 0.0))
        parts = [
            f"update {update}/{self.updates} ({100 * update // self.updates} %)",
            f"loss {row['loss']:.4g} {trend(list(self._losses))}",
            *(f"{name} {row[key]:.2g}" for name, key in (("lr", "lr"), ("grad", "grad_norm")) if _given(row, key)),
        ]
        if _given(row, "samples_per_s"):
            parts.append(f"{row['samples_per_s']:.0f} samples/s")
        if self._score is not None:
            parts.append(f"score {self._score:.3g}")
        if row.get("skipped"):
            parts.append(f"{row['skipped']} skipped")
        parts.append(f"{clock(elapsed)} gone, {self._left(update, elapsed)} left")
        return "  ".join(parts)

    def _left(self, update: int, elapsed: float) -> str:
        """Estimate the rest from the pace of this process."""
        if self._first is None or update <= self._first[0]:
            self._first = (update, elapsed)
            pace = elapsed / max(1, update)
        else:
            pace = (elapsed - self._first[1]) / (update - self._first[0])
        return clock(pace * (self.updates - update))


def trend(losses: list[float]) -> str:
    """Return an arrow: the newer half against the older half, level within 1 %."""
    half = len(losses) // 2
    if half == 0:
        return "→"
    older, newer = sum(losses[:half]) / half, sum(losses[-half:]) / half
    if abs(newer - older) <= 0.01 * abs(older):
        return "→"
    return "↓" if newer < older else "↑"


def clock(seconds: float) -> str:
    """Return a duration as 0:42, 12:05 or 3:02:01."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _given(row: Mapping[str, Any], key: str) -> bool:
    return isinstance(row.get(key), int | float)
