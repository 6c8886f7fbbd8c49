"""How often each source of a mixture is drawn, and how that changes by step and by measured success."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import ConfigError
from sinew.data.config import Stage


def shares(
    frames: Sequence[int], weights: Sequence[float] | NDArray[np.float64], temperature: float = 1.0
) -> NDArray[np.float64]:
    """Return the chance of each source, p ~ weight n^(1 / T), summing to 1.

    T = 1 draws by size, T = inf all sources alike, between them small sources are drawn more often than their size
    says (as in multilingual training, Arivazhagan 2019, arXiv:1907.05019). The weight multiplies what the size gives.

    Args:
        frames: n of each source.
        weights: (S,) of each source, or (U, S) for several moments.
        temperature: T, above 0; ``math.inf`` is allowed.

    Returns:
        As many as there are weights.

    Raises:
        ConfigError: a weight is negative or not finite, all are 0, or the temperature is not above 0.
    """
    given = np.asarray(weights, dtype=np.float64)
    if not temperature > 0:
        raise ConfigError(f"temperature is {temperature:g}; above 0 is wanted: 1 draws by size, inf all sources alike.")
    if given.shape[-1:] != (len(frames),) or not np.isfinite(given).all() or (given < 0).any():
        raise ConfigError(f"weights are {given.tolist()}; {len(frames)} numbers of 0 or more are wanted, one a source.")
    sizes = np.log(np.maximum(np.asarray(frames, dtype=np.float64), 1.0)) / temperature
    parts = given * np.exp(sizes - sizes.max())
    total = parts.sum(axis=-1, keepdims=True)
    if not (total > 0).all():
        raise ConfigError(f"weights are {given.tolist()}; at least one source must have a weight above 0 at all times.")
    return parts / total


def weights_at(progress: NDArray[np.float64], stages: Sequence[Stage]) -> NDArray[np.float64]:
    """Return the weights at moments of a run, in a straight line from stage to stage, (U, S).

    Before the first stage its weights hold, after the last one those of the last. Two stages at one moment are a jump.

    Args:
        progress: (U,) shares of the run.
        stages: at least one, ascending in time, with as many weights each.

    Raises:
        ConfigError: they do not ascend within 0 .. 1, or differ in length.
    """
    times = [stage.at for stage in stages]
    lengths = {len(stage.weights) for stage in stages}
    if not times or times != sorted(times) or not 0 <= times[0] <= times[-1] <= 1 or len(lengths) != 1:
        raise ConfigError(
            f"schedule: stages at {times} with {sorted(lengths)} weights each; they must ascend within 0 .. 1 "
            "and all have one weight a source."
        )
    index = np.searchsorted(times, progress, side="right") - 1
    before = np.clip(index, 0, len(times) - 1)
    after = np.minimum(index + 1, len(times) - 1)
    start, stop = np.asarray(times)[before], np.asarray(times)[after]
    part = np.where(stop > start, (progress - start) / np.where(stop > start, stop - start, 1.0), 0.0)
    table = np.asarray([stage.weights for stage in stages], dtype=np.float64)
    return table[before] + np.clip(part, 0.0, 1.0)[:, None] * (table[after] - table[before])


@dataclass(frozen=True)
class Attention:
    """Turns to what does not succeed yet: scores in, factors on the weights out; nothing else is remembered.

    The factor of a source is max(1 - success, least)^power over its mean, so that 0.5 of success lost counts as much
    wherever it is lost, and what is mastered is still rehearsed.

    Attributes:
        power: 0 leaves the weights as they are, 1 draws in proportion to failure.
        least: failure that a mastered source is treated as having.
        keep: how much of the old measurement remains when a new one comes, 0 .. 1.
        success: smoothed success rate of each source, None before the first measurement.
    """

    power: float = 1.0
    least: float = 0.1
    keep: float = 0.5
    success: tuple[float | None, ...] = ()

    def __post_init__(self) -> None:
        if self.power < 0 or not 0 < self.least <= 1 or not 0 <= self.keep < 1:
            raise ConfigError(
                f"attention: power {self.power:g} must be 0 or more, least {self.least:g} above 0 and up to 1, "
                f"keep {self.keep:g} from 0 to below 1."
            )

    def told(self, scores: Sequence[float | None]) -> Attention:
        """Return the next state.

        Args:
            scores: success of each source, 0 .. 1; None where it was not measured.

        Raises:
            ConfigError: a score lies outside, or there are more or fewer than before.
        """
        old = self.success or (None,) * len(scores)
        if len(old) != len(scores) or any(score is not None and not 0 <= score <= 1 for score in scores):
            raise ConfigError(f"scores are {list(scores)}; {len(old)} numbers within 0 .. 1 (or None) are wanted.")
        return dataclasses.replace(self, success=tuple(map(self._smoothed, old, scores)))

    def factors(self, num_sources: int) -> tuple[float, ...]:
        """Return what to multiply the weights by, 1 on average; a source never measured counts as failing."""
        success = self.success or (None,) * num_sources
        if all(value is None for value in success):
            return (1.0,) * num_sources
        raw = [max(1.0 - (value or 0.0), self.least) ** self.power for value in success]
        mean = sum(raw) / len(raw)
        return tuple(value / mean for value in raw)

    def _smoothed(self, old: float | None, new: float | None) -> float | None:
        if new is None or old is None:
            return old if new is None else new
        return self.keep * old + (1 - self.keep) * new


def task_weights(frequency: Mapping[str, float], power: float) -> dict[str, float]:
    """Return a loss weight for each task, ~ frequency^-power, that is 1 on average over what is drawn.

    With power 1 every task has the same say in the loss however often it is drawn; 0 leaves all at 1.

    Args:
        frequency: how often each task is drawn, in any unit; those at 0 get weight 1, nobody will ask.
        power: 0 .. 1.

    Raises:
        ConfigError: the power lies outside.
    """
    if not 0 <= power <= 1:
        raise ConfigError(f"task power is {power:g}; 0 (all frames alike) to 1 (all tasks alike) is wanted.")
    total = math.fsum(frequency.values())
    drawn = {task: value / total for task, value in frequency.items() if value > 0}
    mean = math.fsum(share ** (1 - power) for share in drawn.values())
    return {task: drawn[task] ** -power / mean if task in drawn else 1.0 for task in frequency}
