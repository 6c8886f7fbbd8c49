"""Measures how far sampled actions are from recorded ones, with the right words and with wrong ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.core.types import ChunkPolicy, NumpyBatch
from sinew.data.windows import Windows
from sinew.evaluate.isolate import own_torch


@dataclass(frozen=True)
class OfflineError:
    """Mean absolute error of sampled actions, each tuple with one value per action dimension.

    Attributes:
        action: names. units: units.
        error: with the recorded instruction; for a two-valued action the share of wrong values times its range.
        shuffled: on the same frames, with the same noise, with another sentence of the recordings; near
            ``error``, the policy does not use language there. None where there is one sentence only.
        frames: windows measured.
    """

    action: tuple[str, ...]
    units: tuple[str, ...]
    error: tuple[float, ...]
    shuffled: tuple[float, ...] | None
    frames: int


def action_error(
    policy: ChunkPolicy, windows: Windows, *, frames: int = 2048, batch: int = 256, seed: int = 0
) -> OfflineError:
    """Sample chunks for recorded frames and compare them with what was done, step by step.

    It is no success rate: errors of a few per cent can fail and large ones can succeed (a mixture of
    ways to the goal). Its use is to see over-fitting and deafness before any episode is run.

    Args:
        policy: predicts the chunks; torch's generator is seeded for it and left as it was.
        windows: held-out ones; history and horizon as the policy's.
        frames: windows to measure at most, drawn without replacement.
        batch: windows predicted together.
        seed: of the draw of frames, sentences and actions.

    Raises:
        DataError: there are no windows, or their horizon is not the policy's.
    """
    if windows.num_frames == 0:
        raise DataError("there are no held-out episodes to measure on. Raise collect.held_out, or collect more.")
    random = np.random.default_rng(seed)
    numbers = random.permutation(windows.num_frames)[:frames].astype(np.int64)
    plain: list[NDArray[np.float64]] = []
    foreign: list[NDArray[np.float64]] = []
    for start in range(0, len(numbers), batch):
        windows_here = windows.gather(numbers[start : start + batch])
        sentences = _others(windows_here.obs.instruction, random)
        plain.append(_error(policy, windows_here, windows_here.obs.instruction, (seed, start)))
        if sentences is not None:
            foreign.append(_error(policy, windows_here, sentences, (seed, start)))
    spec = windows.spec
    return OfflineError(spec.action, spec.action_units, _mean(plain), _mean(foreign) if foreign else None, len(numbers))


def _error(
    policy: ChunkPolicy, batch: NumpyBatch, sentences: tuple[str, ...], stream: tuple[int, int]
) -> NDArray[np.float64]:
    """Return absolute errors (steps, A) of every step that is known, under these sentences and this noise."""
    with own_torch(stream):
        chunk = policy.predict_action_chunk(replace(batch.obs, instruction=sentences))
    if chunk.shape != batch.actions.shape:
        raise DataError(
            f"the policy predicts {chunk.shape[1]} steps of {chunk.shape[2]} actions, the windows hold "
            f"{batch.actions.shape[1]} of {batch.actions.shape[2]}. Cut windows with the policy's horizon."
        )
    return np.abs(chunk.astype(np.float64) - batch.actions)[~batch.is_pad]


def _others(sentences: Sequence[str], random: np.random.Generator) -> tuple[str, ...] | None:
    """Give each row one of the other sentences, all equally likely; None where there is no other."""
    known, place = np.unique(np.asarray(sentences), return_inverse=True)
    if len(known) < 2:
        return None
    moved = (place + random.integers(1, len(known), size=len(place))) % len(known)
    return tuple(str(known[index]) for index in moved)


def _mean(parts: Sequence[NDArray[np.float64]]) -> tuple[float, ...]:
    return tuple(float(value) for value in np.concatenate(parts).mean(axis=0))
