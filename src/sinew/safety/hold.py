"""What stands in for a shield where there are no limits: it changes nothing, and stands still when there is nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import SpecError
from sinew.core.types import RobotSpec, Rows
from sinew.safety.braking import NOT_FINITE, REASONS, STALE
from sinew.safety.shield import ABSURD, Verdict


class Guard(Protocol):
    """What a robot loop asks of whatever has the last word on actions: a ``Shield``, or ``Hold``."""

    last: Verdict

    def reset(self, rows: Rows = None) -> None:
        """Start new episodes."""
        ...

    def filter(
        self,
        actions: NDArray[Any],
        state: NDArray[np.float32],
        rows: Rows = None,
        *,
        stale: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float32]:
        """Return the actions (B, A) to send."""
        ...

    def brake(self, state: NDArray[np.float32], rows: Rows = None) -> NDArray[np.float32]:
        """Return the actions (B, A) that bring these rows to rest."""
        ...

    def at_rest(self, rows: Rows = None) -> bool:
        """Return whether these rows rest."""
        ...

    def interventions(self, row: int = 0) -> Mapping[str, int]:
        """Return the ticks of a row's episode in which its action was changed, by reason."""
        ...


class Hold:
    """Lets every finite action pass; otherwise stops a delta or relative robot dead, and repeats a set-point.

    One row. There are no limits here: a jump passes, and standing still comes at once, not by braking.

    Args:
        spec: of the robot.

    Raises:
        SpecError: it is not clear what standing still means for actions of this kind.
    """

    def __init__(self, spec: RobotSpec) -> None:
        if spec.kind == "waypoint":
            raise SpecError(f"{spec.embodiment}: actions are waypoints, and none of them means to stand still.")
        self.spec = spec
        self.moving = np.array([spec.kind != "absolute" and not binary for binary in spec.binary_mask])
        self.reset()

    def reset(self, rows: Rows = None) -> None:
        """Forget the last action; until there is one, there is nothing to hold for set-points (NaN)."""
        self.held = np.where(self.moving, 0.0, np.nan).astype(np.float32)
        self.counts = np.zeros(len(REASONS), dtype=np.int64)
        self.last = Verdict(self.held[None], self.held[None], np.zeros(1, dtype=np.int64))

    def filter(
        self,
        actions: NDArray[Any],
        state: NDArray[np.float32],
        rows: Rows = None,
        *,
        stale: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float32]:
        """Return the actions (1, A), or what stands still where they or the state are no numbers, or stale."""
        bad = not (np.abs(actions).max() < ABSURD and np.abs(state).max(initial=0.0) < ABSURD)
        reason = NOT_FINITE if bad else STALE if stale is not None and stale.any() else 0
        if reason:
            sent = np.where(self.moving, 0.0, self.held).astype(np.float32)
        else:
            self.held = sent = actions[0].astype(np.float32)
        self.counts[reason] += 1
        self.last = Verdict(actions, sent[None], np.array([reason]))
        return sent[None]

    def brake(self, state: NDArray[np.float32], rows: Rows = None) -> NDArray[np.float32]:
        """Return the action (1, A) that stands still."""
        nothing = np.zeros((1, self.spec.action_size))
        return self.filter(nothing, state, rows, stale=np.ones(1, dtype=np.bool_))

    def at_rest(self, rows: Rows = None) -> bool:
        """Return whether the last action stood still."""
        return bool(self.last.reasons[0])

    def interventions(self, row: int = 0) -> Mapping[str, int]:
        """Return the ticks in which it stood still instead, by reason."""
        return {name: int(number) for name, number in zip(REASONS, self.counts, strict=True) if name and number}
