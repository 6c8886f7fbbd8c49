"""Action chunks of training episodes without what was seen, for what is learned of actions alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sinew.data.store import Store

MOST = 20_000
"""Chunks that are taken; more hardly change what pairs are frequent."""


def training_chunks(stores: Sequence[Store], horizon: int, most: int = MOST) -> NDArray[np.float32]:
    """Return chunks (count, H, A) in physical units, evenly spaced over the training episodes of all stores.

    An episode shorter than H is filled with its last action, as windows are. Labels that are not numbers are left out.

    Args:
        stores: of one robot.
        horizon: H.
        most: how many at most.
    """
    found: list[NDArray[np.float32]] = []
    for store in stores:
        actions = np.asarray(store.column("action"))
        for record in store.records:
            if not record.held_out and record.frames:
                starts = np.arange(max(1, record.frames - horizon + 1))
                index = np.minimum(starts[:, None] + np.arange(horizon), record.frames - 1)
                found.append(actions[record.offset + index])
    chunks = np.concatenate(found) if found else np.zeros((0, horizon, stores[0].spec.action_size), np.float32)
    chunks = chunks[np.isfinite(chunks).all(axis=(1, 2))]
    keep = np.linspace(0, len(chunks) - 1, min(most, len(chunks))).round().astype(np.int64)
    return chunks[keep]
