"""What recordings tell of themselves afterwards: where the robot went to act, and what in the images it moved.

A demonstration labels its own beginning. Where the hand was when the gripper closed is where the thing lay before;
and the part of the image that changed for good when the hand came is where it could be seen. Both need no
simulator, no calibration and nobody's clicks; keyframes at gripper changes are those of James 2022, arXiv:2105.14829.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sinew.data.columns import View
from sinew.data.hold import HOLD, frames_held
from sinew.data.store import Store

NEXT = "next"
"""Name of the target that holds the state at the next keyframe."""
STEADY = 3
"""Frames that a gripper value must last to count as a change."""
TRUST = 0.03
"""Median distance, as a share of the image, up to which places are said to follow from where the hand went."""
ROUNDS = 20
"""Of the reweighting."""
SURE = 1e-3
"""Distance below which a place weighs no more than others as near, as a share of the image."""
RIDGE = 1e-3
"""Added to the normal equations, for state values that go together."""
SPREAD = 1e-4
"""Standard deviation below which a state value tells nothing."""
SAMPLE = 160
"""Frames from which the empty scene of a camera is made up."""


@dataclass(frozen=True)
class Look:
    """How the moved thing is looked for in images.

    Attributes:
        change: difference of brightness, 0 .. 255, averaged over the colours, from which on a pixel has changed.
        early: share of the way to the first keyframe until which the thing's pixels must stay as they were.
        late: frames after the keyframe at which they must have changed.
        reach: half the side of the thing, as a share of the image's shorter side.
        least: pixels that a thing has at least.
    """

    change: float = 22.0
    early: float = 0.35
    late: int = 4
    reach: float = 0.07
    least: int = 4


LOOK = Look()


def keyframes(action: NDArray[np.float32], binary: tuple[bool, ...]) -> NDArray[np.int64]:
    """Return the frames at which a gripper changes and stays so, and the last frame, ascending.

    Args:
        action: (T, A) of an episode.
        binary: which of the A values are two-valued.
    """
    found = {len(action) - 1}
    for values in action[:, np.asarray(binary)].T:
        begins = np.flatnonzero(np.diff(values, prepend=np.nan) != 0)
        lasting = begins[np.diff(begins, append=len(values)) >= STEADY]
        found.update(frame for before, frame in pairwise(lasting.tolist()) if values[before] != values[frame])
    return np.array(sorted(found), dtype=np.int64)


def next_states(store: Store) -> NDArray[np.float32]:
    """Return for every frame of a store the robot's state at its episode's next keyframe, (N, S).

    At a keyframe itself it is that frame's state.
    """
    states, actions = store.column("state"), store.column("action")
    targets = np.empty(states.shape, dtype=np.float32)
    for record in store.records:
        part = slice(record.offset, record.offset + record.frames)
        frames = keyframes(actions[part], store.spec.binary_mask)
        targets[part] = states[part][frames[np.searchsorted(frames, np.arange(record.frames))]]
    return targets


def moved_places(store: Store, look: Look = LOOK) -> NDArray[np.float32]:
    """Return for every frame where the thing that its episode moves lies in the images, (N, 2 C) in 0 .. 1.

    A thing is found where the camera stands still, things lie elsewhere in other episodes, and the episode moves one
    for good. Where most places follow from where the hand went, the few that do not are mistakes: all are then put
    where the hand says, found or not, and are known until the hand is there. Without such a rule a place is known
    until the image around it changes. NaN otherwise.

    Args:
        store: the episodes.
        look: what counts as moved.
    """
    cameras = tuple(store.spec.cameras)
    targets = np.full((store.num_frames, 2 * len(cameras)), np.nan, dtype=np.float32)
    actions, states = store.column("action"), store.column("state")
    parts = [slice(record.offset, record.offset + record.frames) for record in store.records]
    firsts = [int(keyframes(actions[part], store.spec.binary_mask)[0]) for part in parts]
    hands = np.stack([states[part][first] for part, first in zip(parts, firsts, strict=True)])
    for number, camera in enumerate(cameras):
        images = store.column(f"images.{camera}")
        empty = _empty_scene(images)
        found = [find_moved(images[part], empty, first, look) for part, first in zip(parts, firsts, strict=True)]
        places = np.array([(np.nan, np.nan) if place is None else place for place in found])
        ruled = _by_the_hand(hands, places)
        for index, (part, first) in enumerate(zip(parts, firsts, strict=True)):
            place = places[index] if ruled is None else ruled[index]
            if np.isnan(place).any():
                continue
            held = frames_held(images[part], (place[0], place[1]), HOLD) if ruled is None else first + 1
            targets[part.start : part.start + held, 2 * number : 2 * number + 2] = place
    return targets


def find_moved(
    images: NDArray[np.uint8], empty: NDArray[np.float32], keyframe: int, look: Look = LOOK
) -> tuple[float, float] | None:
    """Return where in the first image the thing lies that an episode moves, (u, v) in 0 .. 1, or None.

    Its pixels differ from the empty scene, stay as they are while the hand is on its way, have changed soon after
    the keyframe, and do not come back: a hand that only passes leaves things as they were.

    Args:
        images: (T, 3, h, w) of one camera.
        empty: (3, h, w), the scene without things.
        keyframe: frame at which the hand acts.
        look: what counts as moved.
    """
    pictures = images.astype(np.float32)
    changed = np.abs(pictures - pictures[0]).mean(axis=1) > look.change  # (T, h, w)
    thing = np.abs(pictures[0] - empty).mean(axis=0) > look.change
    begin, end = int(look.early * keyframe), min(keyframe + look.late, len(images) - 1)
    untouched = ~changed[: begin + 1].any(axis=0)
    gone = changed[end:].all(axis=0)
    moved = (thing & untouched & gone).astype(np.float32)
    height, width = moved.shape
    reach = max(1, round(look.reach * min(height, width)))
    near = _box(moved, reach)
    row, column = np.unravel_index(int(near.argmax()), near.shape)
    if near[row, column] < look.least:
        return None
    rows, columns = np.nonzero(moved)
    close = (np.abs(rows - row) <= reach) & (np.abs(columns - column) <= reach)
    return float((columns[close].mean() + 0.5) / width), float((rows[close].mean() + 0.5) / height)


def _empty_scene(images: View) -> NDArray[np.float32]:
    """Return what is seen where nothing stands in the way: the median over frames of many episodes, (3, h, w)."""
    chosen = np.unique(np.linspace(0, len(images) - 1, min(SAMPLE, len(images))).round().astype(np.int64))
    return np.median(images[chosen], axis=0).astype(np.float32)


def _by_the_hand(hands: NDArray[np.float32], places: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return places (E, 2) as a linear rule gives them from where the hand went (E, S), or None where there is no rule.

    The rule is fitted by iteratively reweighted least squares, which few wrong places do not turn. What was found near
    where the rule says is averaged with it. No rule is trusted that leaves the middle place further off than ``TRUST``
    or that has few places to rest on.
    """
    known = np.isfinite(places).all(axis=1)
    varied = hands[:, hands[known].std(axis=0) > SPREAD] if known.any() else hands[:, :0]
    if known.sum() < 3 * (varied.shape[1] + 1):
        return None
    scaled = (varied - varied[known].mean(axis=0)) / varied[known].std(axis=0)
    inputs = np.concatenate([scaled, np.ones((len(scaled), 1))], axis=1)
    off = np.ones(int(known.sum()))
    fitted = np.zeros((inputs.shape[1], 2))
    for _ in range(ROUNDS):
        weighted = inputs[known].T / np.maximum(off, SURE)
        normal = weighted @ inputs[known] + RIDGE * np.eye(inputs.shape[1])
        fitted = np.linalg.solve(normal, weighted @ places[known])
        off = np.linalg.norm(inputs[known] @ fitted - places[known], axis=1)
    if float(np.median(off)) > TRUST:
        return None
    ruled = inputs @ fitted
    near = np.linalg.norm(ruled - places, axis=1) <= max(2 * TRUST, 4 * float(np.median(off)))  # False where NaN
    return np.where(near[:, None], (ruled + places) / 2, ruled)


def _box(values: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    """Return (h, w) sums over squares of side 2 reach + 1."""
    padded = np.pad(values, ((reach + 1, reach), (reach + 1, reach)))
    sums = padded.cumsum(axis=0).cumsum(axis=1)
    side = 2 * reach + 1
    return sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
