"""What a run will take: memory, time, disk, energy and money, as plain arithmetic over what was measured."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

SPARE = 1.12
"""What the step's own tensors take for each byte of theirs: kernels' scratch space and what the allocator keeps back.

Measured on a CPU with glibc, see benchmarks/engine_parts/preflight.py: 1.05 to 1.17."""
HOUR = 3600.0


@dataclass(frozen=True)
class Memory:
    """What the process holds at the peak of an update, on the device that trains [bytes].

    Attributes:
        device: "cpu" or such as "cuda:0".
        runtime: libraries and compiled kernels that the first update brings in.
        weights: of the modules.
        kept: moments of the optimisers, averaged weights, counters.
        step: tensors of one update: gradients, activations and what is temporary.
        batch: one batch; two are alive while the next one is made.
        rows: of a batch.
        row: what one more row adds to ``step``.
        available: free for this run.
        measured_rows: of the largest update that was tried; ``step`` is extrapolated from there.
    """

    device: str
    runtime: int
    weights: int
    kept: int
    step: int
    batch: int
    rows: int
    row: float
    available: int
    measured_rows: int

    @property
    def needed(self) -> int:
        """The peak."""
        return round(self.runtime + self.weights + self.kept + SPARE * self.step + 2 * self.batch)

    @property
    def fits(self) -> bool:
        """There is that much; True where nobody knows what there is."""
        return not self.available or self.needed <= self.available

    @property
    def largest_batch(self) -> int:
        """Most rows that fit, cut to a multiple of 8 from 8 on; 0 where not even one does."""
        spare = SPARE * self.row + 2 * self.batch / max(1, self.rows)
        rows = self.rows - math.ceil((self.needed - self.available) / spare) if spare > 0 else self.rows
        return 0 if rows < 1 else rows if rows < 8 else rows - rows % 8

    @property
    def pieces(self) -> int:
        """Fewest pieces into which the batch must be cut for the peak to fit; 0 where no cutting helps."""
        rows = min(float(self.step), self.row * self.rows)
        room = self.available - (self.needed - SPARE * rows)
        return math.ceil(SPARE * rows / room) if room > 0 else 0


@dataclass(frozen=True)
class Stop:
    """Something that training waits for.

    Attributes:
        update: after which it happens.
        seconds: that it is expected to take.
        what: it is.
    """

    update: int
    seconds: float
    what: str


@dataclass(frozen=True)
class Time:
    """How long the run takes [s].

    Attributes:
        updates: in all.
        update_s: one of them, its batch included; the mean where stages differ.
        data_s: the batch alone.
        stops: rounds, tryouts and checkpoints on the way.
        before_s: demonstrations still to be recorded.
        after_s: the measurement at the end.
        paces: first update, from 0, of each stage, and one of its updates; () where all are alike.
    """

    updates: int
    update_s: float
    data_s: float = 0.0
    stops: tuple[Stop, ...] = ()
    before_s: float = 0.0
    after_s: float = 0.0
    paces: tuple[tuple[int, float], ...] = ()

    @property
    def stopped_s(self) -> float:
        """All the stops."""
        return sum(stop.seconds for stop in self.stops)

    @property
    def training_s(self) -> float:
        """From the first update to the last."""
        return self.updates * self.update_s + self.stopped_s

    @property
    def total_s(self) -> float:
        """From the command to the report."""
        return self.before_s + self.training_s + self.after_s

    def by_kind(self) -> dict[str, tuple[int, float]]:
        """Return how many stops of each kind there are, and what they take together."""
        kinds: dict[str, tuple[int, float]] = {}
        for stop in self.stops:
            count, seconds = kinds.get(stop.what, (0, 0.0))
            kinds[stop.what] = count + 1, seconds + stop.seconds
        return kinds


@dataclass(frozen=True)
class Disk:
    """What is written [bytes].

    Attributes:
        needed: at most at a time, by what it is.
        free: where it is written.
    """

    needed: Mapping[str, int]
    free: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.needed.values())

    @property
    def fits(self) -> bool:
        """There is room."""
        return self.total <= self.free


@dataclass(frozen=True)
class Cost:
    """What the time costs; None where nobody gave a rate.

    Attributes:
        watts: mean power of the machine. source: who says so.
        per_kwh: price of energy. per_hour: price of the machine.
        currency: of both.
    """

    watts: float | None = None
    source: str = ""
    per_kwh: float | None = None
    per_hour: float | None = None
    currency: str = "USD"

    def energy_kwh(self, seconds: float) -> float | None:
        """Return the energy of that time."""
        return None if self.watts is None else self.watts * seconds / HOUR / 1000

    def money(self, seconds: float) -> float | None:
        """Return the price of that time: of the machine, of its energy, or of both."""
        energy = self.energy_kwh(seconds)
        parts = [] if self.per_hour is None else [self.per_hour * seconds / HOUR]
        parts += [] if self.per_kwh is None or energy is None else [self.per_kwh * energy]
        return sum(parts) if parts else None


@dataclass(frozen=True)
class Forecast:
    """All of it; kept as ``preflight.json`` in the run directory.

    Attributes:
        parts: name, trainable and frozen parameters, of each module and of its parts.
        flops: operations of an update.
        peak_flops: operations a second of a large matrix product; 0 when not measured.
        checked: what was looked at in the data, in sentences.
        schema_version: version of this record.
    """

    memory: Memory
    time: Time
    disk: Disk
    cost: Cost
    parts: tuple[tuple[str, int, int], ...] = ()
    flops: float = 0.0
    peak_flops: float = 0.0
    checked: tuple[str, ...] = ()
    schema_version: int = 1

    def with_free(self, *, memory: int, disk: int) -> Forecast:
        """Return the same with what is free now."""
        return dataclasses.replace(
            self,
            memory=dataclasses.replace(self.memory, available=memory),
            disk=dataclasses.replace(self.disk, free=disk),
        )


def milliseconds(seconds: float) -> str:
    """Return a short time for people, such as 84.1 ms."""
    return f"{1000 * seconds:,.0f} ms" if seconds >= 0.1 else f"{1000 * seconds:.3g} ms"


def size(count: float) -> str:
    """Return bytes for people, such as 1.4 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit in ("B", "KiB") or count >= 100 else f"{count:.1f} {unit}"
