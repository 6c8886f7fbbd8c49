"""Measures how far sampled actions are from recorded ones, with the right words and with wrong ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.core.types import ChunkPolicy, NumpyBatch, RobotSpec
from sinew.data.mixture import Mixture
from sinew.data.windows import Windows
from sinew.evaluate.isolate import own_torch


@dataclass(frozen=True)
class OfflineError:
    """Errors of sampled actions, each tuple with one value per action dimension.

    Attributes:
        action: names. units: units.
        error: mean absolute error with the recorded instruction; for a two-valued action the share of wrong
            values times its range.
        shuffled: on the same frames, with the same noise, with another sentence of the recordings; near
            ``error``, the policy does not use language there. None where there is one sentence only.
        frames: windows measured.
        ranges: high - low of each action, physical units.
        tolerance: how close counts as right, physical units.
        accuracy: share of steps in which every action is within its tolerance.
        episodes: that the windows come from.
    """

    action: tuple[str, ...]
    units: tuple[str, ...]
    error: tuple[float, ...]
    shuffled: tuple[float, ...] | None
    frames: int
    ranges: tuple[float, ...]
    tolerance: tuple[float, ...]
    accuracy: float
    episodes: int = 0

    @property
    def score(self) -> float:
        """The mean error as a share of each action's range: one number to compare checkpoints by, lower is better."""
        return _share(self.error, self.ranges)

    @property
    def alignment(self) -> float | None:
        """How much worse the score gets with another sentence, as a share of it: 0 for a policy that is deaf.

        None where there is one sentence only, or no error at all.
        """
        if self.shuffled is None or not self.score:
            return None
        return _share(self.shuffled, self.ranges) / self.score - 1


@dataclass(frozen=True)
class Replay:
    """A held-out episode beside what the policy would have done in each of its frames.

    Attributes:
        episode: its name. instruction: its sentence. action: names. units: units. hz: control rate [1/s].
        ranges: high - low of each action, physical units.
        recorded: T rows of A actions, physical units.
        predicted: as many, the first action of the chunk that each frame's observation leads to.
    """

    episode: str
    instruction: str
    action: tuple[str, ...]
    units: tuple[str, ...]
    hz: float
    ranges: tuple[float, ...]
    recorded: tuple[tuple[float, ...], ...]
    predicted: tuple[tuple[float, ...], ...]

    @property
    def error(self) -> float:
        """Mean absolute error as a share of each action's range."""
        return float((np.abs(np.asarray(self.predicted) - self.recorded) / self.ranges).mean())


def action_error(
    policy: ChunkPolicy,
    windows: Windows | Mixture,
    *,
    frames: int = 2048,
    batch: int = 256,
    seed: int = 0,
    tolerance: float = 0.05,
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
        tolerance: how close an action must be to count as right, as a share of its range.

    Raises:
        DataError: there are no windows, or their horizon is not the policy's.
    """
    if windows.num_frames == 0:
        raise DataError(
            "there are no held-out episodes to measure on. Raise the share that is held out, or record more."
        )
    random = np.random.default_rng(seed)
    numbers = random.permutation(windows.num_frames)[:frames].astype(np.int64)
    ranges = ranges_of(windows.spec)
    plain: list[NDArray[np.float64]] = []
    foreign: list[NDArray[np.float64]] = []
    for start in range(0, len(numbers), batch):
        windows_here = windows.gather(numbers[start : start + batch])
        sentences = _others(windows_here.obs.instruction, random)
        plain.append(_error(policy, windows_here, windows_here.obs.instruction, (seed, start)))
        if sentences is not None:
            foreign.append(_error(policy, windows_here, sentences, (seed, start)))
    spec = windows.spec
    return OfflineError(
        action=spec.action,
        units=spec.action_units,
        error=_mean(plain),
        shuffled=_mean(foreign) if foreign else None,
        frames=len(numbers),
        ranges=tuple(ranges.tolist()),
        tolerance=tuple((tolerance * ranges).tolist()),
        accuracy=float((np.concatenate(plain) <= tolerance * ranges).all(axis=1).mean()),
        episodes=windows.num_episodes,
    )


def joined(errors: Mapping[str, OfflineError]) -> OfflineError:
    """Return the errors of several bodies, by name, as one: their actions beside each other, steps counted together.

    Sentences count as shuffled where they were for all of them.
    """
    if len(errors) == 1:
        return next(iter(errors.values()))
    every = list(errors.values())
    shuffled = [one.shuffled for one in every if one.shuffled is not None]
    frames = sum(one.frames for one in every)
    return OfflineError(
        action=tuple(f"{body}: {name}" for body, one in errors.items() for name in one.action),
        units=tuple(chain.from_iterable(one.units for one in every)),
        error=tuple(chain.from_iterable(one.error for one in every)),
        shuffled=tuple(chain.from_iterable(shuffled)) if len(shuffled) == len(every) else None,
        frames=frames,
        ranges=tuple(chain.from_iterable(one.ranges for one in every)),
        tolerance=tuple(chain.from_iterable(one.tolerance for one in every)),
        accuracy=sum(one.accuracy * one.frames for one in every) / frames,
        episodes=sum(one.episodes for one in every),
    )


def replay(policy: ChunkPolicy, windows: Windows | Mixture, episode: int, *, batch: int = 256, seed: int = 0) -> Replay:
    """Let a policy look at every frame of a recorded episode, and return what it would have done.

    Args:
        policy: predicts the chunks; torch's generator is seeded for it and left as it was.
        windows: that hold the episode; history as the policy's.
        episode: its number among those of the windows.
        batch: frames predicted together.
        seed: of what the policy draws.
    """
    numbers = windows.frames_of(episode)
    recorded: list[NDArray[np.float32]] = []
    predicted: list[NDArray[np.float32]] = []
    for start in range(0, len(numbers), batch):
        part = windows.gather(numbers[start : start + batch])
        with own_torch((seed, start)):
            predicted.append(policy.predict_action_chunk(part.obs)[:, 0])
        recorded.append(part.actions[:, 0])
    name, sentence = windows.named(episode)
    spec = windows.spec
    return Replay(
        episode=name,
        instruction=sentence,
        action=spec.action,
        units=spec.action_units,
        hz=spec.hz,
        ranges=tuple(ranges_of(spec).tolist()),
        recorded=_rows(recorded),
        predicted=_rows(predicted),
    )


def ranges_of(spec: RobotSpec) -> NDArray[np.float64]:
    """Return high - low of every action, (A,) in physical units; 1 where the bounds are no numbers."""
    ranges = np.asarray(spec.high, dtype=np.float64) - np.asarray(spec.low, dtype=np.float64)
    return np.where(np.isfinite(ranges) & (ranges > 0), ranges, 1.0)


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


def _rows(parts: Sequence[NDArray[np.float32]]) -> tuple[tuple[float, ...], ...]:
    """Return (T, A) as rows of numbers, rounded to what a float32 holds."""
    return tuple(tuple(float(f"{value:.7g}") for value in row) for row in np.concatenate(parts))


def _share(errors: Sequence[float], ranges: Sequence[float]) -> float:
    return float(np.mean(np.asarray(errors) / np.asarray(ranges)))
