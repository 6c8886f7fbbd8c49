"""Statistics of the low-dimensional columns, exact and over the training frames only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.core.types import RobotSpec, Statistics
from sinew.data.store import Store
from sinew.data.windows import Windows

MOST_STEPS = 4_000_000
"""Steps of chunks whose statistics are computed at once."""
BLOCK = 4096


@dataclass(frozen=True, order=True)
class Body:
    """What statistics of state and action belong to; those of different bodies are never pooled.

    Attributes:
        embodiment: name of the body.
        control: what an action value means; with its rate where the size of a value depends on that.
    """

    embodiment: str
    control: str

    def __str__(self) -> str:
        """Return both in one word."""
        return f"{self.embodiment}/{self.control}"


def body_of(spec: RobotSpec) -> Body:
    """Return the body of a robot; a delta at another rate is another control mode, since it covers another time."""
    control = f"{spec.kind}@{spec.hz:g}Hz" if spec.kind == "delta" else spec.kind
    return Body(spec.embodiment, control if spec.rotation == "none" else f"{control}/{spec.rotation}")


def statistics_by_body(
    stores: Sequence[Store], targets: Sequence[str] | None = None
) -> Mapping[Body, Mapping[str, Statistics]]:
    """Return the statistics of each body over all its stores; see ``statistics``.

    Raises:
        DataError: stores that name the same body have other values in state or action, or a column is empty.
    """
    groups: dict[Body, list[Store]] = {}
    for store in stores:
        group = groups.setdefault(body_of(store.spec), [])
        group.append(store)
        for what in ("state", "state_units", "action", "action_units"):
            one, two = getattr(group[0].spec, what), getattr(store.spec, what)
            if one != two:
                raise DataError(
                    f"{store.path} and {group[0].path} both name the body {body_of(store.spec)}, but their {what} are "
                    f"{list(two)} and {list(one)}. Give them the same, or different embodiments."
                )
    return {body: statistics(group, targets) for body, group in groups.items()}


def statistics(stores: Sequence[Store], targets: Sequence[str] | None = None) -> dict[str, Statistics]:
    """Return what normalisation needs, computed in float64 with exact quantiles.

    Held-out episodes are left out. A row with a NaN is left out of its column's statistics.

    Args:
        stores: of one robot; targets may be missing in some of them.
        targets: the auxiliary labels wanted; None means all there are.

    Returns:
        By name: ``state``, ``action`` (the labels), ``targets.<name>``.

    Raises:
        DataError: a column has no finite row at all.
    """
    known = dict.fromkeys(name for store in stores for name in store.target_sizes)
    names = ["state", "action", *(f"targets.{name}" for name in (known if targets is None else targets))]
    return {name: _column_statistics(name, stores) for name in names}


def chunk_statistics(windows: Windows) -> Statistics:
    """Return the statistics of the actions in all chunks of the windows, padding left out.

    Measured from the state at which a chunk begins, the same action is another number in every chunk. Where there are
    more than ``MOST_STEPS`` steps of chunks, those of every n-th frame are taken.
    """
    every = -(-windows.num_frames * windows.horizon // MOST_STEPS)
    chosen = np.arange(0, windows.num_frames, max(1, every))
    rows: list[NDArray[np.float32]] = []
    for begin in range(0, len(chosen), BLOCK):
        actions, is_pad = windows.chunks(chosen[begin : begin + BLOCK])
        rows.append(actions[~is_pad])
    return statistics_of(np.concatenate(rows))


def statistics_of(rows: NDArray[np.float32]) -> Statistics:
    """Return the statistics of rows (N, D), those with a NaN left out; at least one must be left."""
    known = rows[~np.isnan(rows).any(axis=1)].astype(np.float64)

    def single(values: Any) -> NDArray[np.float32]:  # noqa: ANN401  (what NumPy returns)
        return np.asarray(values, dtype=np.float32)

    low, high = np.quantile(known, (0.01, 0.99), axis=0)
    return Statistics(
        mean=single(known.mean(axis=0)),
        std=single(known.std(axis=0)),
        low=single(known.min(axis=0)),
        high=single(known.max(axis=0)),
        q01=single(low),
        q99=single(high),
        count=len(known),
    )


def _column_statistics(name: str, stores: Sequence[Store]) -> Statistics:
    parts = [store.column(name)[_training_frames(store)] for store in stores if name in store.columns]
    rows = np.concatenate(parts) if parts else np.zeros((0, 1), dtype=np.float32)
    if np.isnan(rows).any(axis=1).all():
        places = ", ".join(str(store.path) for store in stores)
        raise DataError(
            f"{name} has no value in any training frame of {places}. "
            "Collect episodes, or take it out of the targets that are learned."
        )
    return statistics_of(rows)


def _training_frames(store: Store) -> NDArray[np.bool_]:
    training = np.array([not record.held_out for record in store.records], dtype=bool)
    return np.repeat(training, [record.frames for record in store.records])
