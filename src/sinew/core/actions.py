"""What action values mean: targets, steps from the state of the moment, or targets as seen from where a chunk began.

With s_k the state at step k of a chunk, of the values that have an action::

    absolute   a_k
    delta      a_k - s_k      from the state of the same step
    relative   a_k - s_0      from the state at which the chunk begins (Chi 2024, arXiv:2402.10329, for positions)

All conversions go through the absolute one, in float64: the sum of two float32 is exact there unless one is 2^29 times
the other. So there and back gives the same float32, bit for bit; an action more than 2^28 times smaller than its
state comes back within 2^-52 of the state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import SpecError
from sinew.core.types import ActionKind, RobotSpec


def matches(spec: RobotSpec, named: Mapping[str, str] | None = None) -> dict[int, int]:
    """Return by the number of each action value that adds to a state value the number of that; others stay as they are.

    Args:
        spec: the robot.
        named: state by action, by name. None matches equal names with equal units, two-valued actions left out.

    Raises:
        SpecError: nothing matches, a name is unknown, or it cannot be known from names alone which values are
            orientations: these do not add.
    """
    if named is None and spec.rotation != "none":
        raise SpecError(
            f"{spec.embodiment}: holds orientations ({spec.rotation}), which do not add up number by number. "
            "Name the pairs of action and state that do, such as x: x."
        )
    units = dict(zip(spec.state, spec.state_units, strict=True))
    if named is None:
        wanted = zip(spec.action, spec.action_units, strict=True)
        named = {name: name for name, unit in wanted if units.get(name) == unit and name not in spec.binary}
    unknown = [name for name in named if name not in spec.action] + [
        name for name in named.values() if name not in spec.state
    ]
    if unknown or not named:
        raise SpecError(
            f"{spec.embodiment}: {', '.join(unknown) or 'no action'} has no state of its name and unit to be measured "
            f"from; actions are {', '.join(spec.action)}, states {', '.join(spec.state) or 'none'}. Name the pairs."
        )
    return {spec.action.index(action): spec.state.index(state) for action, state in named.items()}


def convert_actions(
    actions: NDArray[Any],
    states: NDArray[np.float32],
    pairs: Mapping[int, int],
    *,
    kind: ActionKind,
    to: ActionKind,
) -> NDArray[np.float64]:
    """Return action chunks with another meaning, (..., H, A) float64.

    Args:
        actions: (..., H, A).
        states: (..., H, S) at the steps of the chunk; only the first is used between absolute and relative.
        pairs: see ``matches``.
        kind: what the values mean.
        to: what they shall mean.

    Raises:
        SpecError: waypoints are asked for, which say nothing of steps.
    """
    if "waypoint" in (kind, to):
        raise SpecError(f"{kind} actions cannot become {to} ones: a waypoint does not say at which step it is reached.")
    out = np.array(actions, dtype=np.float64)
    columns, sources = list(pairs), list(pairs.values())
    bases = {"delta": states, "relative": states[..., :1, :]}
    if kind in bases:
        out[..., columns] += bases[kind][..., sources].astype(np.float64)
    if to in bases:
        out[..., columns] -= bases[to][..., sources].astype(np.float64)
    return out
