"""Probes what a policy makes of recorded observations: whether it looks, listens, shakes, or does one thing only."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sinew.core.types import ChunkPolicy, NumpyBatch, NumpyObservation
from sinew.data.mixture import Mixture
from sinew.data.windows import Windows
from sinew.evaluate.isolate import own_torch
from sinew.evaluate.offline import action_error, ranges_of

STRETCHES = 16
"""Stretches of consecutive frames that are looked at."""
LENGTH = 12
"""Frames of a stretch, fewer where most episodes are shorter."""
CANDIDATES = 512
"""Episodes that the stretches are chosen from, sentence by sentence."""
FRAMES = 256
"""Windows that errors are measured on."""
STILL = 0.02
"""Second differences, as a share of the actions' spread, below which recordings count as perfectly smooth."""
UNMOVED = 1e-6
"""Change of the action, as a share of the recordings' spread, that is none."""

Actions = NDArray[np.float64]
Act = Callable[[NumpyObservation], Actions]


@dataclass(frozen=True)
class Stretches:
    """Recorded frames in stretches of one length, one stretch after another.

    Attributes:
        batch: the frames, as windows.
        length: of a stretch.
        ranges: (A,) high - low of each action, physical units.
        continuous: (A,) bool, which actions take more than two values.
    """

    batch: NumpyBatch
    length: int
    ranges: NDArray[np.float64]
    continuous: NDArray[np.bool_]

    @property
    def recorded(self) -> Actions:
        """What was done in each frame, (B, A) in physical units."""
        return self.batch.actions[:, 0].astype(np.float64)

    @property
    def spread(self) -> Actions:
        """Standard deviation of each recorded action, (A,); a thousandth of its range where it is constant."""
        return np.maximum(self.recorded.std(axis=0), 1e-3 * self.ranges)


def probe(
    policy: ChunkPolicy,
    training: Windows | Mixture,
    held_out: Windows | Mixture | None = None,
    *,
    execute: int = 1,
    seed: int = 0,
) -> dict[str, float]:
    """Return a row of numbers on what a policy does with recorded observations.

    Those of ``measure``, and ``error/training`` and ``error/held_out``: the mean absolute error as a share of each
    action's range. Stretches are of held-out episodes where there are any.

    Args:
        policy: predicts the chunks; torch's generator is seeded for it and left as it was.
        training: windows it learns from.
        held_out: windows it does not learn from; None or empty where there are none.
        execute: steps of a chunk that are executed.
        seed: of the choice of frames and of what the policy draws.
    """
    kept = held_out if held_out is not None and held_out.num_frames else None
    found = measure(policy, choose(kept or training, seed=seed), execute=execute, seed=seed)
    for name, windows in (("training", training), ("held_out", kept)):
        if windows is not None:
            found[f"error/{name}"] = action_error(policy, windows, frames=FRAMES, seed=seed).score
    return found


def choose(windows: Windows | Mixture, *, seed: int) -> Stretches:
    """Return stretches of several episodes, of as many sentences as there are."""
    random = np.random.default_rng(seed)
    episodes = [windows.frames_of(int(number)) for number in random.permutation(windows.num_episodes)[:CANDIDATES]]
    length = min(LENGTH, int(np.median([len(frames) for frames in episodes])))  # so that half of them have it
    episodes = [frames for frames in episodes if len(frames) >= length]
    firsts = windows.gather(np.array([frames[0] for frames in episodes[: 8 * STRETCHES]])).obs.instruction
    seen: dict[str, int] = {}
    turns: list[tuple[int, int]] = []
    for place, sentence in enumerate(firsts):
        seen[sentence] = seen.get(sentence, 0) + 1
        turns.append((seen[sentence], place))
    frames: list[NDArray[np.int64]] = []
    for _, place in sorted(turns)[:STRETCHES]:
        begin = int(random.integers(len(episodes[place]) - length + 1))
        frames.append(episodes[place][begin : begin + length])
    continuous = ~np.asarray(windows.spec.binary_mask, dtype=np.bool_)
    return Stretches(windows.gather(np.concatenate(frames)), length, ranges_of(windows.spec), continuous)


def measure(policy: ChunkPolicy, stretches: Stretches, *, execute: int = 1, seed: int = 0) -> dict[str, float]:
    """Return what a policy does with some recorded frames; a number that cannot be told is left out.

    - ``probe/spread``: spread of the predicted over that of the recorded actions;
    - ``probe/jitter``: second differences of the actions as executed, over those of the recordings;
    - ``probe/look``, ``probe/listen``: how much the action changes when the images, or the instruction, are those of
      another stretch, over how much it changes when everything is;
    - ``task_error/TASK``: mean absolute error as a share of each action's range, where there are several tasks.

    Args:
        policy: predicts the chunks, under the same draws for every change of the observations.
        stretches: frames of at least one episode.
        execute: steps of a chunk that are executed.
        seed: of what the policy draws.
    """
    batch, spread = stretches.batch, stretches.spread

    def act(obs: NumpyObservation) -> Actions:
        with own_torch((seed, len(spread))):
            return policy.predict_action_chunk(obs).astype(np.float64) / spread

    plain, recorded = act(batch.obs), stretches.recorded / spread
    found = {"probe/spread": float(plain[:, 0].std(axis=0).mean() / max(recorded.std(axis=0).mean(), UNMOVED))}
    if stretches.length >= 3 and stretches.continuous.any():
        done = _executed(plain, stretches.length, execute)
        shakes, usual = (_shaking(actions, stretches) for actions in (done, recorded))
        found["probe/jitter"] = shakes / max(usual, STILL)
    return {**found, **_changes(act, plain, stretches), **_task_errors(plain * spread, stretches)}


def _changes(act: Act, plain: Actions, stretches: Stretches) -> dict[str, float]:
    """Return how much of the action hangs on the images and on the instruction."""
    obs = stretches.batch.obs
    other = np.roll(np.arange(len(plain)), stretches.length)
    sentences = tuple(obs.instruction[row] for row in other)
    differ = np.array([one != two for one, two in zip(obs.instruction, sentences, strict=True)])
    everything = dataclasses.replace(obs.map(lambda array: array[other]), instruction=sentences)
    whole = np.abs(act(everything) - plain).mean(axis=(1, 2))
    found: dict[str, float] = {}
    if obs.images and whole.mean() > UNMOVED:
        seen = dataclasses.replace(obs, images={name: images[other] for name, images in obs.images.items()})
        found["probe/look"] = float(np.abs(act(seen) - plain).mean() / whole.mean())
    if differ.any() and whole[differ].mean() > UNMOVED:
        told = act(dataclasses.replace(obs, instruction=sentences))
        found["probe/listen"] = float(np.abs(told - plain)[differ].mean() / whole[differ].mean())
    return found


def _executed(chunks: Actions, length: int, execute: int) -> Actions:
    """Return the actions (B, A) that would be executed in each stretch if its chunks (B, H, A) were."""
    execute = min(execute, chunks.shape[1])
    rows = chunks.reshape(-1, length, *chunks.shape[1:])[:, ::execute, :execute]
    return rows.reshape(len(rows), -1, chunks.shape[-1])[:, :length].reshape(-1, chunks.shape[-1])


def _shaking(actions: Actions, stretches: Stretches) -> float:
    """Return the mean second difference of continuous actions (B, A) within the stretches."""
    rows = actions.reshape(-1, stretches.length, actions.shape[-1])[..., stretches.continuous]
    return float(np.abs(np.diff(rows, n=2, axis=1)).mean())


def _task_errors(chunks: Actions, stretches: Stretches) -> dict[str, float]:
    """Return by task how far chunks (B, H, A) are from what was done; nothing for a single task."""
    batch, tasks = stretches.batch, np.asarray(stretches.batch.task, dtype=object)
    names = sorted(set(batch.task))
    if len(names) < 2:
        return {}
    wrong = np.where(batch.is_pad[..., None], np.nan, np.abs(chunks - batch.actions) / stretches.ranges)
    return {f"task_error/{name}": float(np.nanmean(wrong[tasks == name])) for name in names}
