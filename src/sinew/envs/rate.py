"""Keeps a loop on a fixed grid of time."""

from __future__ import annotations

import math
import time
from typing import Protocol

from sinew.core.errors import ConfigError


class Clock(Protocol):
    """Tells the time and lets it pass; a test gives its own."""

    def now(self) -> float:
        """Return seconds since some moment; never goes backwards."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        """Return seconds since some moment."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait; a little longer is possible."""
        time.sleep(seconds)


class Rate:
    """Ticks at start + k / hz, whatever a tick takes: errors do not add up.

    A tick that comes late does not push the following ones. After a whole missed tick the loop goes on at the
    next grid point instead of hurrying through what it missed.

    Args:
        hz: ticks per second.
        clock: tells the time.

    Attributes:
        tick: number of the grid point waited for last, from 0.
        due: its time [s of the clock].
        late_s: how late the loop was there [s], 0 when it was early.
        missed: grid points passed over so far.

    Raises:
        ConfigError: ``hz`` is not positive.
    """

    def __init__(self, hz: float, clock: Clock | None = None) -> None:
        if not (math.isfinite(hz) and hz > 0):
            raise ConfigError(f"a rate of {hz} Hz; give a finite number above 0.")
        self.period = 1.0 / hz
        self.clock = clock or SystemClock()
        self.start()

    def start(self) -> None:
        """Begin the grid now; the first ``wait`` returns at once."""
        self.began = self.due = self.clock.now()
        self.tick, self.missed, self.late_s = -1, 0, 0.0

    def wait(self) -> float:
        """Sleep until the next grid point and return its time [s of the clock]."""
        now = self.clock.now()
        wanted = self.tick + 1
        current = math.floor((now - self.began) / self.period + 1e-9)
        self.tick = max(wanted, current)
        self.missed += self.tick - wanted
        self.due = self.began + self.tick * self.period
        self.late_s = max(0.0, now - self.began - wanted * self.period)
        if self.due > now:
            self.clock.sleep(self.due - now)
        return self.due
