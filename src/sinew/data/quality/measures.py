"""What the checks across episodes need to know of each of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sinew.data.episode import Episode
from sinew.data.quality.motion import alone_still


@dataclass(frozen=True)
class Measures:
    """One episode in a few numbers; lists are of the S state values unless said otherwise.

    Attributes:
        frames: T.
        content: digest of all that was seen and done.
        numbers: digest of state and action; "" where these hardly vary, so that equal ones mean nothing.
        success: the instruction was fulfilled.
        low: smallest value. high: largest value.
        live: share of frames in which it changes.
        still: first and last frame of a long run in which it alone stands still; (0, -1) where there is none.
        still_at: its value there.
        step: 95 % quantile of the change from frame to frame, below the largest one.
        leap: largest change from frame to frame.
        leap_frame: the frame after it.
        action_low: smallest of the A action values. action_high: largest.
        action_size: 99 % quantile of the A action values' magnitude.
        idle: frames at the start and at the end in which nothing moves.
    """

    frames: int
    content: str
    numbers: str
    success: bool
    low: tuple[float, ...]
    high: tuple[float, ...]
    live: tuple[float, ...]
    still: tuple[tuple[int, int], ...]
    still_at: tuple[float, ...]
    step: tuple[float, ...]
    leap: tuple[float, ...]
    leap_frame: tuple[int, ...]
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    action_size: tuple[float, ...]
    idle: tuple[int, int]


def measure(episode: Episode, idle: tuple[int, int]) -> Measures:
    """Return the measures of an episode; NaN is left out of them."""
    state = np.nan_to_num(episode.state.astype(np.float64), posinf=0.0, neginf=0.0)
    action = np.nan_to_num(episode.action.astype(np.float64), posinf=0.0, neginf=0.0)
    change = np.abs(np.diff(state, axis=0)) if len(state) > 1 else np.zeros((1, state.shape[1]))
    varied = len(np.unique(np.concatenate([state, action], axis=1), axis=0)) >= min(5, len(state))
    numbers = hashlib.blake2b(digest_size=12)
    for column in (episode.state, episode.action):
        numbers.update(np.ascontiguousarray(column).data)
    content = numbers.copy()
    content.update(episode.instruction.encode())
    for name in sorted(episode.images):
        content.update(np.ascontiguousarray(episode.images[name]).data)
    still = alone_still(episode)
    return Measures(
        frames=episode.num_frames,
        content=content.hexdigest(),
        numbers=numbers.hexdigest() if varied and len(state) > 1 else "",
        success=bool(episode.success),
        low=_plain(state.min(axis=0)),
        high=_plain(state.max(axis=0)),
        live=_plain((change > 0).mean(axis=0)),
        still=still,
        still_at=tuple(float(state[first, value]) for value, (first, _) in enumerate(still)),
        step=_plain(np.quantile(change, 0.95, axis=0, method="lower")),
        leap=_plain(change.max(axis=0)),
        leap_frame=tuple(int(frame) + 1 for frame in change.argmax(axis=0)),
        action_low=_plain(action.min(axis=0)),
        action_high=_plain(action.max(axis=0)),
        action_size=_plain(np.quantile(np.abs(action), 0.99, axis=0)),
        idle=idle,
    )


def _plain(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(values.tolist())
