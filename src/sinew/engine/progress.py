"""What training looks like in a terminal: a few live lines; elsewhere a plain line now and then."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

PLAIN_EVERY_S = 10.0
RECENT = 10
"""Rows that the trend and the pace are taken from."""


class Timer(Protocol):
    """Says when a run will be done."""

    def see(self, update: int, elapsed_s: float) -> None:
        """Take note that this many updates took this long."""
        ...

    def left(self) -> float | None:
        """Return how long the rest will take [s], None when nothing is known."""
        ...


class Pace:
    """A timer that knows no more than the updates so far: the rest goes like the last ones of this process.

    Args:
        updates: length of the run.
    """

    def __init__(self, updates: int) -> None:
        self.updates = updates
        self._seen: deque[tuple[int, float]] = deque(maxlen=4 * RECENT)

    def see(self, update: int, elapsed_s: float) -> None:
        """Take note that this many updates took this long."""
        self._seen.append((update, elapsed_s))

    def left(self) -> float | None:
        """Return how long the rest will take [s]; from the first row on."""
        if not self._seen:
            return None
        return self.update_s * (self.updates - self._seen[-1][0])

    @property
    def update_s(self) -> float:
        """What an update took lately [s]."""
        (begun, since), (update, elapsed) = self._seen[0], self._seen[-1]
        return (elapsed - since) / (update - begun) if update > begun else elapsed / max(1, update)


class Progress:
    """Shows rows of metrics as they come; its bound methods are the trainer's ``on_log`` and ``on_note``.

    Args:
        updates: length of the run.
        console: where to write; standard output when None.
        timer: says how long the rest takes; None for one that goes by the pace.
        flops: operations of an update, for MFU; 0 when unknown.
        peak_flops: operations a second that this machine can do at most; 0 when unknown.
    """

    def __init__(
        self,
        updates: int,
        *,
        console: Console | None = None,
        timer: Timer | None = None,
        flops: float = 0.0,
        peak_flops: float = 0.0,
    ) -> None:
        self.updates = updates
        self.console = console or Console(highlight=False)
        self.timer: Timer = timer or Pace(updates)
        self.flops, self.peak_flops = flops, peak_flops
        self._pace = Pace(updates)
        self._live: Live | None = None
        self._losses: deque[float] = deque(maxlen=RECENT)
        self._printed = float("-inf")
        self._scores: list[float] = []
        self.tell_scores_as("score", "{:.3g}".format)
        self._faults: list[str] = []

    def tell_scores_as(self, name: str, text: Callable[[float], str]) -> None:
        """Say from now on what a score means, where it is no rate of success: its name, and its value in words."""
        self._score_name, self._score_text = name, text

    def __enter__(self) -> Progress:
        """Start the live lines, on a terminal."""
        if self.console.is_terminal:
            self._live = Live(Text("starting"), console=self.console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last lines standing."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, row: Mapping[str, Any]) -> None:
        """Take a row of metrics.jsonl: of updates, of a try-out, or a finding."""
        if isinstance(row.get("finding"), Mapping):
            self._faults.append(str(row["finding"]["fault"]))
        if _given(row, "score"):
            self._scores.append(row["score"])
        if not _given(row, "loss"):
            return
        self._losses.append(row["loss"])
        update, elapsed = int(row["update"]), float(row.get("elapsed_s", 0.0))
        self._pace.see(update, elapsed)
        self.timer.see(update, elapsed)
        if self._live is not None:
            self._live.update(self.panel(row))
        elif time.monotonic() - self._printed >= PLAIN_EVERY_S or row["update"] >= self.updates:
            self._printed = time.monotonic()
            self.console.print(self.line(row), markup=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """Print a sentence above the lines."""
        self.console.print(text, markup=False, soft_wrap=True)

    def line(self, row: Mapping[str, Any]) -> str:
        """Return one row as a line for people and logs."""
        update = int(row["update"])
        head = f"update {update}/{self.updates} ({100 * update // self.updates} %)"
        return "  ".join([head, *self._learning(row), *self._working(row), self._time(row)])

    def panel(self, row: Mapping[str, Any]) -> RenderableType:
        """Return the live lines: how far, how well, how fast, and what was found to be wrong."""
        update = int(row["update"])
        head = Table.grid(padding=(0, 2), expand=True)
        head.add_column(no_wrap=True)
        head.add_column(ratio=1)
        head.add_column(no_wrap=True, justify="right")
        share = f"{100 * update // self.updates} %"
        bar = ProgressBar(total=self.updates, completed=update)
        head.add_row(f"update {update:,}/{self.updates:,}", bar, f"{share}   {self._time(row)}")
        lines = [Text("   ".join(self._learning(row))), Text("   ".join(self._working(row)), style="dim")]
        if self._faults:
            lines.append(Text(f"found: {', '.join(dict.fromkeys(self._faults))}", style="bold"))
        return Group(head, *lines)

    def _learning(self, row: Mapping[str, Any]) -> Iterator[str]:
        """Yield how well it learns."""
        yield f"loss {row['loss']:.4g} {trend(list(self._losses))}"
        for name, key in (("lr", "lr"), ("grad", "grad_norm")):
            if _given(row, key):
                yield f"{name} {row[key]:.2g}"
        if self._scores:
            best = max(self._scores)
            last = f"{self._score_name} {self._score_text(self._scores[-1])}"
            yield last + (f" (best {self._score_text(best)})" if best > self._scores[-1] else "")
        if row.get("skipped"):
            yield f"{row['skipped']} skipped"

    def _working(self, row: Mapping[str, Any]) -> Iterator[str]:
        """Yield how fast it is and what that takes."""
        if _given(row, "samples_per_s"):
            yield f"{row['samples_per_s']:,.0f} samples/s"
        if self.flops and self.peak_flops and self._pace.update_s > 0:
            yield f"MFU {100 * self.flops / self._pace.update_s / self.peak_flops:.0f} %"
        if _given(row, "memory_gb"):
            yield f"memory {row['memory_gb']:.1f} GB"
        if _given(row, "gpu_load"):
            yield f"GPU {100 * row['gpu_load']:.0f} %, {row.get('gpu_memory_gb', 0.0):.1f} GB"
        if _given(row, "data_share") and row["data_share"] >= 0.1:
            yield f"{100 * row['data_share']:.0f} % for data"

    def _time(self, row: Mapping[str, Any]) -> str:
        left = self.timer.left()
        gone = f"{clock(float(row.get('elapsed_s', 0.0)))} gone"
        return gone if left is None else f"{gone}, {clock(left)} left"


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
