"""Faults that only show across the episodes of a data set."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sinew.core.types import RobotSpec
from sinew.data.quality.findings import Finding
from sinew.data.quality.measures import Measures

RARE = 0.1
"""Share of the episodes of the most frequent task below which a task is rare."""
SHORT = 0.2
"""Share of the usual length below which an episode is short."""
LIVE = 0.9
"""Share of frames in which a value changes that is measured and not set."""
ENOUGH = 30
"""Frames from which on there is something that is usual."""
LEAP = 10.0
"""How many times its usual largest step, and a quarter of its range, a value must leap."""
FEW = 0.02
"""Share of an action's bounds that must be made use of."""
TURNS = 4 * math.pi
"""No joint turns further than twice around [rad]."""
FASTEST = 45.0
"""No robot or car moves faster [m/s]."""
SPINS = 60.0
"""No joint turns faster [rad/s]."""
OTHER_SCALE = 20.0
"""How many times larger than usual an episode's values are that are in another unit."""


def across(
    spec: RobotSpec, measures: Mapping[int, Measures], *, unsaid: frozenset[str] = frozenset(), judged: bool = True
) -> Iterator[Finding]:
    """Yield what shows in the numbers of the episodes that could be read.

    Args:
        spec: the robot.
        measures: by number of the episode.
        unsaid: fields of the spec that were made up.
        judged: whether the data say which episodes succeeded.
    """
    if not measures:
        return
    yield from duplicates(measures)
    yield from lengths(measures, judged=judged)
    if spec.state and sum(item.frames for item in measures.values()) >= ENOUGH:
        yield from jumps(spec, measures)
        yield from stuck(spec, measures)
    yield from units(spec, measures, unsaid)
    yield from other_units(spec, measures)
    if not {"low", "high"} & unsaid:
        yield from wide_bounds(spec, measures)


def sentences(instructions: Sequence[str]) -> Iterator[Finding]:
    """Find episodes without an instruction."""
    for number, text in enumerate(instructions):
        if not text.strip():
            yield Finding("instruction", "error", "the instruction is empty", episode=number)


def balance(tasks: Sequence[str]) -> Iterator[Finding]:
    """Find tasks with few episodes beside one that has many."""
    counts = Counter(task for task in tasks if task)
    if len(counts) < 2:
        return
    common, most = counts.most_common(1)[0]
    rare = {task: count for task, count in counts.items() if count < RARE * most}
    if rare:
        shown = ", ".join(f"{task} ({count})" for task, count in sorted(rare.items(), key=lambda item: item[1])[:5])
        more = f" and {len(rare) - 5} more" if len(rare) > 5 else ""
        yield Finding("balance", "warning", f"few episodes of {shown}{more}; of {common} there are {most}")


def outcomes(measures: Mapping[int, Measures]) -> Iterator[Finding]:
    """Find that no episode succeeds, or note those that do not."""
    failed = [number for number, item in measures.items() if not item.success]
    if measures and len(failed) == len(measures):
        yield Finding("success", "warning", f"none of {len(measures)} episodes is marked a success")
    elif failed:
        yield Finding("success", "note", f"{len(failed)} of {len(measures)} episodes are marked as failed")


def duplicates(measures: Mapping[int, Measures]) -> Iterator[Finding]:
    """Find episodes that are equal to an earlier one, in all or in all but the images."""
    first: dict[str, int] = {}
    for number, item in measures.items():
        earlier = first.setdefault(item.content, number)
        if earlier != number:
            yield Finding("duplicate", "warning", f"is equal to episode {earlier}", episode=number)
            continue
        earlier = first.setdefault(f"numbers {item.numbers}", number) if item.numbers else number
        if earlier != number:
            words = f"state and action are those of episode {earlier}, images or instruction differ"
            yield Finding("duplicate", "warning", words, episode=number)


def lengths(measures: Mapping[int, Measures], *, judged: bool = True) -> Iterator[Finding]:
    """Find episodes that are much shorter than usual; those marked as successes are only noted, in one line."""
    usual = float(np.median([item.frames for item in measures.values()]))
    short = {number: item for number, item in measures.items() if item.frames < max(SHORT * usual, 2)}
    fine = [number for number, item in short.items() if judged and item.success]
    if fine:
        words = f"{len(fine)} episodes are much shorter than usual ({usual:g} frames) and yet marked as successes"
        yield Finding("short", "note", f"{words}: {', '.join(map(str, fine[:5]))}{', ...' * (len(fine) > 5)}")
    for number, item in short.items():
        if number not in fine:
            yield Finding("short", "warning", f"{item.frames} frames, {usual:g} are usual here", episode=number)


def jumps(spec: RobotSpec, measures: Mapping[int, Measures]) -> Iterator[Finding]:
    """Find single steps of a state value that are far larger than its steps are elsewhere."""
    rows = list(measures.values())
    leap = _table([item.leap for item in rows])
    span = _table([item.high for item in rows]).max(axis=0) - _table([item.low for item in rows]).min(axis=0)
    live = np.median(_table([item.live for item in rows]), axis=0) >= 0.5
    usual = _lower_median(_table([item.step for item in rows]))
    largest = _lower_median(leap) if len(rows) > 1 else np.zeros(leap.shape[1])
    two_valued = np.array([name in spec.binary for name in spec.state])
    far = (leap > LEAP * usual) & (leap > 4 * largest) & (leap > 0.25 * span) & live & ~two_valued
    for row, (number, item) in enumerate(measures.items()):
        for value in np.flatnonzero(far[row]):
            frame = item.leap_frame[value]
            turn = {"rad": 2 * math.pi, "deg": 360.0}.get(spec.state_units[value], math.inf)
            wraps = ", a full turn: the angle wraps around" if abs(item.leap[value] - turn) < 0.1 * turn else ""
            words = (
                f"state {spec.state[value]} leaps by {item.leap[value]:g} {spec.state_units[value]} from frame "
                f"{frame - 1} to {frame}; {usual[value]:.2g} is usual{wraps}"
            )
            yield Finding("jump", "warning", words, episode=number, frames=(frame, frame), point=True)


def stuck(spec: RobotSpec, measures: Mapping[int, Measures]) -> Iterator[Finding]:
    """Find state values that stand still, for long or for good, and change in nearly all other frames of the data.

    A run at the end of a value's range does not count: a gripper or an axis may rest there.
    """
    low = _table([item.low for item in measures.values()]).min(axis=0)
    high = _table([item.high for item in measures.values()]).max(axis=0)
    live = _table([item.live for item in measures.values()])
    usual = np.median(live, axis=0) >= LIVE
    often = (live > 0.5).sum(axis=0) >= LIVE * max(1, len(live) - 1)  # in the others, seen from one that never changes
    for row, (number, item) in enumerate(measures.items()):
        for value in np.flatnonzero(usual):
            first, last = item.still[value]
            others = item.frames - (last - first + 1)
            away = min(item.still_at[value] - low[value], high[value] - item.still_at[value])
            resting = away < 0.05 * (high[value] - low[value])
            if (
                first <= last
                and live[row, value] > 0
                and not resting
                and live[row, value] * item.frames >= LIVE * (others - 1)
            ):
                words = f"state {spec.state[value]} stands still to the last bit while others change"
                yield Finding("frozen", "warning", words, episode=number, frames=(first, last))
        gone = np.flatnonzero((live[row] == 0) & often)
        if len(gone) and item.frames >= 10:
            names = ", ".join(spec.state[value] for value in gone)
            words = f"state {names} never changes; in other episodes it does in nearly every frame"
            yield Finding("frozen", "warning", words, episode=number)


def units(spec: RobotSpec, measures: Mapping[int, Measures], unsaid: frozenset[str]) -> Iterator[Finding]:
    """Find columns whose size cannot be what their unit says."""
    rows = list(measures.values())
    reach = np.maximum(np.abs(_table([item.low for item in rows])), np.abs(_table([item.high for item in rows])))
    usual = np.median(reach, axis=0) if spec.state else np.zeros(0)
    pace = np.median(_table([item.step for item in rows]), axis=0) * spec.hz if spec.state else np.zeros(0)
    known = {"hz"} & unsaid == set()
    yield from _columns("state", spec.state, spec.state_units, usual, pace if known else np.zeros_like(pace))
    size = np.median(_table([item.action_size for item in rows]), axis=0)
    moves = spec.kind in ("delta", "relative")
    pace = size * spec.hz if moves and known and "kind" not in unsaid else np.zeros_like(size)
    yield from _columns("action", spec.action, spec.action_units, size, pace)


def _columns(
    what: str, names: Sequence[str], units: Sequence[str], size: NDArray[np.float64], pace: NDArray[np.float64]
) -> Iterator[Finding]:
    """Yield findings for the columns of state or action, those of one unit together."""
    limits = {
        "rad": (TURNS, math.inf, "degrees"),
        "rad/s": (SPINS, math.inf, "degrees per second"),
        "m": (math.inf, FASTEST, "millimetres"),
        "m/s": (FASTEST, math.inf, "millimetres per second"),
    }
    for unit, (largest, fastest, looks) in limits.items():
        wrong = [
            number
            for number, name in enumerate(units)
            if name == unit and (size[number] > largest or pace[number] > fastest)
        ]
        if wrong:
            shown = ", ".join(_shown(names[number], size[number], pace[number], unit, fastest) for number in wrong[:4])
            yield Finding("units", "error", f"{what} {shown}: said to be in {unit}, this looks like {looks}")
    turns = [number for number, name in enumerate(units) if name in ("deg", "degree", "degrees")]
    steps = what == "action" and pace.any()  # by which something moves; these may be as small as they like
    if turns and 0.1 < size[turns].max() <= 1.05 * math.pi and not steps:
        shown = ", ".join(f"{names[number]} up to {size[number]:.3g}" for number in turns[:4])
        yield Finding("units", "error", f"{what} {shown}: said to be in degrees, this looks like rad")


def _shown(name: str, size: float, pace: float, unit: str, fastest: float) -> str:
    if pace > fastest:
        return f"{name} moves at {pace:.4g} {unit}/s"
    return f"{name} reaches {size:.4g}"


def other_units(spec: RobotSpec, measures: Mapping[int, Measures]) -> Iterator[Finding]:
    """Find episodes in which all lengths or all angles are many times larger or smaller than in the others."""
    if len(measures) < 3:
        return
    rows = list(measures.values())
    reach = np.maximum(np.abs(_table([item.low for item in rows])), np.abs(_table([item.high for item in rows])))
    groups = (("lengths", ("m", "mm", "cm", "?")), ("angles", ("rad", "deg", "degree", "degrees")))
    for words, names in groups:
        columns = [number for number, unit in enumerate(spec.state_units) if unit in names]
        usual = np.median(reach[:, columns], axis=0)
        chosen = [column for column, size in zip(columns, usual, strict=True) if size > 0]
        if not chosen:
            continue
        ratio = reach[:, chosen] / usual[usual > 0]
        for row, number in enumerate(measures):
            smallest, largest = float(ratio[row].min()), float(ratio[row].max())
            if smallest > OTHER_SCALE or 0 < largest < 1 / OTHER_SCALE:
                times = smallest if smallest > 1 else largest
                text = f"all {words} of the state are {times:.3g} times those of the other episodes"
                yield Finding("units", "error", text, episode=number)


def wide_bounds(spec: RobotSpec, measures: Mapping[int, Measures]) -> Iterator[Finding]:
    """Find that the actions never use more than a sliver of their bounds, which is how bounds in another unit look."""
    low = np.min(_table([item.action_low for item in measures.values()]), axis=0)
    high = np.max(_table([item.action_high for item in measures.values()]), axis=0)
    share = (high - low) / (np.asarray(spec.high) - np.asarray(spec.low))
    used = (share > 0) & (share < FEW) & ~np.asarray(spec.binary_mask)
    if used.any() and share.max(initial=0.0, where=~np.asarray(spec.binary_mask)) < FEW:
        number = int(np.flatnonzero(used)[0])
        yield Finding(
            "bounds",
            "warning",
            f"actions use less than {FEW:.0%} of their bounds: {spec.action[number]} runs from {low[number]:.3g} to "
            f"{high[number]:.3g}, the spec allows {spec.low[number]:g} to {spec.high[number]:g}",
        )


def _table(rows: Sequence[tuple[float, ...]]) -> NDArray[np.float64]:
    return np.asarray(rows, dtype=np.float64).reshape(len(rows), -1)


def _lower_median(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by column the median, the smaller of the middle two; of two episodes one may be at fault."""
    return np.sort(table, axis=0)[(len(table) - 1) // 2]
