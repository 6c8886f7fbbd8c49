"""What a robot loop did: every tick, every fault with its line, and the sum of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sinew.core.types import NumpyObservation

LATE_SHARE = 0.1
"""A tick is late when it begins after its time by more than this share of a period."""
TELL_SHARE = 0.5
"""A line says so when it is more than this share."""


@dataclass(frozen=True)
class LoopTick:
    """One command.

    Attributes:
        number: grid point, from 0.
        time_s: when the command had been sent, since the start.
        obs: what was seen, None when nothing came in time.
        wanted: (A,) what the policy asked for, None when it did not answer.
        sent: (A,) what the robot got.
        reason: why the guard changed it, "" when it did not.
        fault: kind of fault that made the loop brake, "" for none.
        success: the robot says that it has done what it was told.
    """

    number: int
    time_s: float
    obs: NumpyObservation | None
    wanted: NDArray[np.float32] | None
    sent: NDArray[np.float32]
    reason: str
    fault: str
    success: bool = False


@dataclass(frozen=True)
class Fault:
    """Something that made the loop brake.

    Attributes:
        kind: late frame, frozen frame, bad state, no answer, not finite.
        text: the sentence of the log.
        tick: first tick concerned. time_s: when, since the start.
        ticks: how many it lasted.
    """

    kind: str
    text: str
    tick: int
    time_s: float
    ticks: int = 1


@dataclass(frozen=True)
class LoopReport:
    """The sum of a loop.

    Attributes:
        ended: why, as a sentence.
        failed: it ended by a failure of robot or policy.
        success: the robot says that it has done what it was told.
        ticks: commands sent before the final brake.
        seconds: from the first of them to the last.
        hz: wanted rate. rate_hz: reached.
        late: ticks that began late by more than a tenth of a period. worst_late_s: the latest.
        missed: grid points passed over.
        faults: what made it brake, in order.
        interventions: ticks in which the guard changed the action, by reason.
        rested: at the end the guard's axes were at rest and the robot took the last command.
    """

    ended: str
    failed: bool
    success: bool
    ticks: int
    seconds: float
    hz: float
    rate_hz: float
    late: int
    worst_late_s: float
    missed: int
    faults: tuple[Fault, ...]
    interventions: Mapping[str, int]
    rested: bool

    @property
    def rate_error(self) -> float:
        """How far the rate was off, as a share."""
        return abs(self.rate_hz / self.hz - 1.0)

    def lines(self) -> tuple[str, ...]:
        """Return the sum for people."""
        braked = sum(fault.ticks for fault in self.faults)
        changed = ", ".join(f"{name} {count}" for name, count in self.interventions.items()) or "none"
        rate = f"{self.ticks} ticks in {self.seconds:.1f} s, {self.rate_hz:.2f} Hz of {self.hz:g}"
        late = (
            f"{self.late} late by more than {100 * LATE_SHARE:g} % of a tick (worst {1000 * self.worst_late_s:.0f} ms)"
        )
        return (
            f"ended: {self.ended}" + ("" if self.rested else " THE ROBOT DID NOT TAKE THE LAST BRAKE COMMAND."),
            f"{rate}; {late}; {self.missed} missed",
            f"faults: {len(self.faults)}, {braked} ticks braked",
            f"actions changed by the shield: {changed}",
        )


@dataclass
class LoopLog:
    """Gathers a loop's ticks and tells its faults when they begin and when they are over.

    Attributes:
        note: told what happens, one line each.
        period: of a tick [s].
    """

    note: Callable[[str], None]
    period: float
    faults: list[Fault] = field(default_factory=list)
    ticks: int = 0
    first_s: float = 0.0
    last_s: float = 0.0
    late: int = 0
    worst_late_s: float = 0.0
    running: Fault | None = None

    def begun(self, tick: int, late_s: float, missed: int) -> None:
        """Take how late a tick began, and how many grid points were passed over before it."""
        self.worst_late_s = max(self.worst_late_s, late_s)
        self.late += late_s > LATE_SHARE * self.period
        if late_s > TELL_SHARE * self.period:
            skipped = f", {missed} passed over" if missed else ""
            self.note(f"tick {tick}: {1000 * late_s:.0f} ms late{skipped}.")

    def done(self, tick: LoopTick, text: str) -> None:
        """Take a tick that was commanded, with the sentence of its fault."""
        self.first_s = tick.time_s if self.ticks == 0 else self.first_s
        self.last_s, self.ticks = tick.time_s, self.ticks + 1
        running = self.running
        if running is not None and tick.fault == running.kind:
            self.running = Fault(running.kind, running.text, running.tick, running.time_s, running.ticks + 1)
            return
        self.close()
        if tick.fault:
            self.running = Fault(tick.fault, text, tick.number, tick.time_s)
            self.note(f"{tick.time_s:.2f} s, tick {tick.number}: {text} Braking.")
        elif running is not None:
            self.note(
                f"{tick.time_s:.2f} s, tick {tick.number}: going on after {running.ticks} ticks of {running.kind}."
            )

    def close(self) -> None:
        """Take the running fault as over."""
        if self.running is not None:
            self.faults.append(self.running)
            self.running = None

    @property
    def rate_hz(self) -> float:
        """Commands per second; 0 before there are two."""
        return (self.ticks - 1) / (self.last_s - self.first_s) if self.last_s > self.first_s else 0.0
