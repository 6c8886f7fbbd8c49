"""What may go wrong with a run, in two grades, each with what prevents it and what helps afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sinew.engine.forecast import Forecast, size
from sinew.engine.progress import clock

Grade = Literal["critical", "high"]
TIGHT = 0.8
"""Share of what is free from which on memory or disk is a risk."""
FEW_EPISODES = 50
LONG_S = 24 * 3600.0
"""From here on the length of a run is a risk of its own."""


@dataclass(frozen=True)
class Risk:
    """Something that may go wrong.

    Attributes:
        grade: critical may end the run or lose something, high may spoil the result.
        what: may happen. mitigation: what to do before. recovery: what to do when it has happened.
    """

    grade: Grade
    what: str
    mitigation: str
    recovery: str


def of_machine(forecast: Forecast) -> Iterator[Risk]:
    """Yield what memory, disk and time put at risk."""
    memory, disk, total = forecast.memory, forecast.disk, forecast.time.total_s
    if memory.available and memory.needed > TIGHT * memory.available:
        yield Risk(
            "critical",
            f"Out of memory: the peak is foreseen at {size(memory.needed)}, and {size(memory.available)} are free.",
            "A smaller batch, --optim.accumulate 2, or --optim.ema 0.",
            "The system ends the process; the same command goes on from the last checkpoint.",
        )
    if disk.total > TIGHT * disk.free:
        yield Risk(
            "critical",
            f"Disk full: up to {size(disk.total)} are written, and {size(disk.free)} are free.",
            "Free some space, or choose another place with --out; --loop.keep 1 keeps fewer checkpoints.",
            "A checkpoint that does not fit is not begun; the last one stays whole. Make room, run the command again.",
        )
    if total > LONG_S:
        money = forecast.cost.money(total)
        price = "" if money is None else f" (about {money:,.0f} {forecast.cost.currency})"
        yield Risk(
            "critical",
            f"A long run: {clock(total)}{price}; what is wrong with it shows late.",
            "The same with --quick first; look at the curves after the first tenth.",
            "Stop it with Ctrl-C: everything is saved, and the same command goes on.",
        )


def of_overwriting(*, exists: bool, keep: int, checkpoints: int) -> Iterator[Risk]:
    """Yield what a run writes over.

    Args:
        exists: the run directory holds an unfinished run of the same settings, which goes on.
        keep: checkpoints kept beside the best.
        checkpoints: that the run writes.
    """
    if exists:
        yield Risk(
            "critical",
            "Overwriting: the directory holds an unfinished run of these settings, which goes on in it.",
            "Copy the directory first, or choose another place with --out, if its state shall be kept.",
            "Checkpoints are replaced only by newer whole ones; what was removed is gone.",
        )
    elif checkpoints > keep + 1:
        yield Risk(
            "high",
            f"Overwriting: of {checkpoints} checkpoints the newest {keep} and the best are kept, older ones removed.",
            "--loop.keep N keeps more.",
            "A removed checkpoint comes back only by running to its update again, with the same bits.",
        )


def of_data(episodes: int, held_out: int, *, sentences: int = 0) -> Iterator[Risk]:
    """Yield what the amount of data puts at risk; 0 sentences means that nobody counted them."""
    if not held_out:
        yield Risk(
            "critical",
            "No held-out episodes: over-fitting shows only when the policy acts.",
            "Hold some out: --collect.held-out or --data.ingest.held-out, 0.1 for example.",
            "Measure in closed loop with new initial states before anything moves: sinew evaluate RUN",
        )
    if episodes < FEW_EPISODES:
        yield Risk(
            "high",
            f"Little data: {episodes} episodes. Expect failures wherever they did not go.",
            "Record more, with varied starts; begin with trained weights (--init).",
            "Record where it failed, add these episodes, and train again.",
        )
    if sentences == 1:
        yield Risk(
            "high",
            "All episodes carry one sentence: the policy need not listen, and does the same whatever is said.",
            "Record a second task with another sentence.",
            "Do not rely on the instruction; the controls of the evaluation show whether it listens.",
        )


def doubt(what: str, mitigation: str) -> Risk:
    """Return a doubt about what the data says of the robot."""
    return Risk("high", what, mitigation, "Correct spec.json and train again: a policy keeps the spec it learned with.")
