"""Faults in the numbers of one episode: not finite, out of bounds, standing still, cut too short or begun too early."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sinew.core.types import RobotSpec
from sinew.data.episode import TOLERANCE, Episode
from sinew.data.quality.findings import Finding

STILL = 0.02
"""Share of a value's range within which it counts as not moving."""
COMMANDED = 0.05
"""Share of an action's bound from which on it asks for movement."""
REAL_TIME = 0.8
"""Share of the time that is said between two frames below which they were not recorded in real time."""
MOST_RUNS = 3
"""Runs of frames that are told one by one, by episode and value."""


def runs(mask: NDArray[np.bool_], shortest: int = 1) -> list[tuple[int, int]]:
    """Return first and last index of each run of True that is at least that long."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(first), int(end) - 1) for first, end in edges.reshape(-1, 2) if end - first >= shortest]


def long_while(spec: RobotSpec) -> int:
    """Return how many frames of standstill are too many: a second, and 10 at least."""
    return max(10, round(spec.hz))


def in_runs(
    mask: NDArray[np.bool_], kind: str, severity: str, words: str, *, shortest: int = 1, point: bool = False
) -> Iterator[Finding]:
    """Yield a finding for each of the first runs, and one for all the others."""
    found = runs(mask, shortest)
    for run in found[:MOST_RUNS]:
        yield Finding(kind, severity, words, frames=run, point=point)  # type: ignore[arg-type]
    if len(found) > MOST_RUNS:
        rest = found[MOST_RUNS:]
        frames = sum(last - first + 1 for first, last in rest)
        yield Finding(
            kind,
            severity,  # type: ignore[arg-type]
            f"{words}; {len(rest)} more runs, {frames} frames in all",
            frames=(rest[0][0], rest[-1][1]),
            point=point,
        )


def not_finite(episode: Episode) -> Iterator[Finding]:
    """Find NaN and infinity in state, action, executed and reward."""
    columns: list[tuple[str, NDArray[np.float32], tuple[str, ...]]] = [
        ("state", episode.state, episode.spec.state),
        ("action", episode.action, episode.spec.action),
    ]
    if episode.executed is not episode.action:
        columns.append(("executed", episode.executed, episode.spec.action))
    if episode.reward is not None:
        columns.append(("reward", episode.reward[:, None], ("it",)))
    for name, rows, parts in columns:
        bad = ~np.isfinite(rows)
        if np.any(bad):
            which = ", ".join(parts[number] for number in np.flatnonzero(bad.any(axis=0)))
            yield from in_runs(np.any(bad, axis=1), "nan", "error", f"{name} is not a number in {which}")


def out_of_bounds(episode: Episode) -> Iterator[Finding]:
    """Find labels outside their bounds, and between the two values of a two-valued action."""
    spec = episode.spec
    low, high = np.asarray(spec.low), np.asarray(spec.high)
    slack = TOLERANCE * (high - low)
    inside = (episode.action > low + slack) & (episode.action < high - slack) & np.asarray(spec.binary_mask)
    bad = (episode.action < low - slack) | (episode.action > high + slack) | inside
    for number in np.flatnonzero(bad.any(axis=0)):
        values = episode.action[bad[:, number], number]
        word = "or" if spec.binary_mask[number] else "to"
        words = (
            f"action {spec.action[number]} is {values[np.argmax(np.abs(values))]:g}, the spec allows "
            f"{low[number]:g} {word} {high[number]:g}"
        )
        yield from in_runs(bad[:, number], "bounds", "error", words)


def frozen(episode: Episode) -> Iterator[Finding]:
    """Find that no state value changes for a long while in which the actions ask for movement."""
    if episode.num_frames < 2 or not episode.state.shape[1] or not np.isfinite(episode.state).all():
        return
    same = np.diff(episode.state, axis=0, prepend=np.nan) == 0  # (T, S): as in the frame before
    asked = _asked(episode)
    stuck = np.zeros(episode.num_frames, bool)
    for first, last in runs(same.all(axis=1), long_while(episode.spec)):
        if asked[first : last + 1].mean() > 0.5:
            stuck[first : last + 1] = True
    yield from in_runs(stuck, "frozen", "warning", "no state value changes while the actions ask for movement")


def alone_still(episode: Episode) -> tuple[tuple[int, int], ...]:
    """Return for each state value the longest run in which it stands to the last bit while others go on.

    Returns:
        First and last frame by value; (0, -1) where there is no such run.
    """
    if episode.num_frames < 2:
        return ((0, -1),) * episode.state.shape[1]
    same = np.diff(episode.state, axis=0, prepend=np.nan) == 0
    longest: list[tuple[int, int]] = []
    for number in range(episode.state.shape[1]):
        found = [
            (first, last)
            for first, last in runs(same[:, number], long_while(episode.spec))
            if (~same[first : last + 1]).any(axis=1).mean() > 0.5
        ]
        longest.append(max(found, key=lambda run: run[1] - run[0], default=(0, -1)))
    return tuple(longest)


def _asked(episode: Episode) -> NDArray[np.bool_]:
    """Return in which frames the actions ask for movement, (T,)."""
    moving = ~np.asarray(episode.spec.binary_mask)
    low, high = np.asarray(episode.spec.low)[moving], np.asarray(episode.spec.high)[moving]
    action = episode.action[:, moving]
    if episode.spec.kind in ("delta", "relative"):
        return np.any(np.abs(action) > COMMANDED * np.maximum(np.abs(low), np.abs(high)), axis=1)
    span = action.max(axis=0) - action.min(axis=0)
    step = np.abs(np.diff(action, axis=0, prepend=action[:1]))
    return ((step > 0.1 * STILL * span) & (span > 0)).any(axis=1)


def idle_ends(episode: Episode) -> tuple[int, int]:
    """Return how many frames at the start and at the end nothing moves in: neither state nor what is asked for."""
    if not (np.isfinite(episode.state).all() and np.isfinite(episode.action).all()):
        return 0, 0
    forward = _still_from(episode, 0)
    if forward.all():
        return episode.num_frames, episode.num_frames
    head = int(np.argmin(forward))
    tail = int(np.argmin(_still_from(episode, -1)[::-1]))
    return head, tail


def _still_from(episode: Episode, place: int) -> NDArray[np.bool_]:
    """Return in which frames all is as in the first or the last one, (T,)."""
    spec, action = episode.spec, episode.action
    binary = np.asarray(spec.binary_mask)
    still = (action[:, binary] == action[place, binary]).all(axis=1)
    if spec.kind in ("delta", "relative"):
        bound = np.maximum(np.abs(spec.low), np.abs(spec.high))[~binary]
        still &= (np.abs(action[:, ~binary]) <= STILL * bound).all(axis=1)
    else:
        still &= _near(action[:, ~binary], place)
    return still & _near(episode.state, place)


def _near(rows: NDArray[np.float32], place: int) -> NDArray[np.bool_]:
    """Return in which rows no value is further from that row's than a small share of its range."""
    span = rows.max(axis=0, initial=-np.inf) - rows.min(axis=0, initial=np.inf)
    return np.all(np.abs(rows - rows[place]) <= STILL * span, axis=1)


def idle(episode: Episode) -> Iterator[Finding]:
    """Find heads and tails of at least a second, and 10 frames, in which nothing moves."""
    head, tail = idle_ends(episode)
    total = episode.num_frames
    if head == total and total >= long_while(episode.spec):
        yield Finding("idle", "warning", f"nothing moves in all {total} frames", frames=(0, total - 1))
        return
    if head >= long_while(episode.spec):
        seconds = head / episode.spec.hz
        yield Finding("idle", "warning", f"nothing moves for the first {seconds:.1f} s", frames=(0, head - 1))
    if tail >= long_while(episode.spec):
        seconds = tail / episode.spec.hz
        yield Finding(
            "idle", "warning", f"nothing moves for the last {seconds:.1f} s", frames=(total - tail, total - 1)
        )


def time_gaps(times: NDArray[np.float64], hz: float) -> Iterator[Finding]:
    """Find frames that come late, or not after the one before.

    Frames that came much faster than the rate were not recorded in real time, and none of them is late.

    Args:
        times: seconds of the frames, (T,).
        hz: control rate [1/s].
    """
    step = np.diff(times, prepend=times[0] - 1 / hz)
    back = ~(step > 0)
    if back.any():
        first = int(np.flatnonzero(back)[0])
        words = f"time does not go on: {times[first - 1]:g} s, then {times[first]:g} s"
        yield from in_runs(back, "timestamps", "error", words, point=True)
    late = step > 1.5 / hz
    if late.any() and np.median(step) > REAL_TIME / hz:
        widest = int(np.argmax(step))
        words = (
            f"{1000 * step[widest]:.0f} ms between frames {widest - 1} and {widest} at most, "
            f"{1000 / hz:.0f} ms are said ({hz:g} Hz)"
        )
        yield from in_runs(late, "timestamps", "warning", words, point=True)
