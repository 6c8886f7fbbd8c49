"""Says whether measured rates show what an evaluation is for: the policy does what it is told, because it is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sinew.evaluate.rates import ALL, Rate, find

GOOD, EVERY_SEED = 0.95, 0.90
MARGIN = 0.05
GAP = 0.60
NEGATIVE = ("wrong", "silent", "blank", "random")


@dataclass(frozen=True)
class Check:
    """One bar and where the measurement stands.

    Attributes:
        what: in words. task: the task, or "all".
        value: measured. bar: what it is held against, both as rates within [0, 1] or their difference.
        at_least: True when the value must reach the bar, False when it must stay at or under it.
    """

    what: str
    task: str
    value: float
    bar: float
    at_least: bool

    @property
    def ok(self) -> bool:
        """Whether the bar is met (to 1e-9, since 0.95 is no binary number)."""
        return self.value >= self.bar - 1e-9 if self.at_least else self.value <= self.bar + 1e-9


def checks(measured: Sequence[Rate]) -> tuple[Check, ...]:
    """Hold rates against their bars, each task for itself and all together.

    On seen states a task succeeds at least ``GOOD`` of the time, in every training seed at least
    ``EVERY_SEED``. With another goal named the rate stays within ``MARGIN`` of that. Each negative
    control exceeds measured chance (the random policy on the same states) by ``MARGIN`` at most, and
    its upper bound lies ``GAP`` under the lower bound of the seen rate, where that is above ``GAP``; see
    ``too_low``. The comparison with chance is one-sided: a policy that goes for a wrong goal on purpose does
    less than chance, which is right.
    """
    found: list[Check] = []
    for seen in measured:
        if (seen.split, seen.control) == ("seen", "none"):
            found += _of_task(measured, seen)
    return tuple(found)


def too_low(measured: Sequence[Rate]) -> str:
    """Return in a sentence which tasks succeed too seldom to judge controls by the gap to them, or ""."""
    controlled = {rate.task for rate in measured if rate.control in NEGATIVE}
    low = [
        rate.task
        for rate in measured
        if (rate.split, rate.control) == ("seen", "none") and rate.task in controlled and rate.low <= GAP
    ]
    if not low:
        return ""
    return (
        f"The success rate on seen states is too low to judge controls by their distance to it ({', '.join(low)}): "
        f"its lower bound must be above {100 * GAP:.0f} %."
    )


def _of_task(measured: Sequence[Rate], seen: Rate) -> Iterator[Check]:
    task = seen.task
    if task != ALL:
        yield Check("success on seen states", task, seen.rate, GOOD, at_least=True)
        if seen.seeds > 1:
            yield Check("success of the worst seed", task, seen.lowest, EVERY_SEED, at_least=True)
    other = find(measured, task, control="other")
    if other is not None:
        yield Check("other goal named", task, other.rate, seen.rate - MARGIN, at_least=True)
    chance = find(measured, task, control="random")
    for control in NEGATIVE:
        rate = find(measured, task, control=control)
        if rate is None:
            continue
        if chance is not None and control != "random":
            yield Check(f"{control}: above chance", task, rate.rate - chance.rate, MARGIN, at_least=False)
        if seen.low > GAP:
            yield Check(f"{control}: upper bound", task, rate.high, seen.low - GAP, at_least=False)
