"""Several sources as one: numbered through, padded to one shape where bodies differ, drawn by weight."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.core.types import NumpyBatch, RobotSpec
from sinew.data.config import Stage
from sinew.data.draws import Draws, Plan
from sinew.data.join import join, shapes_of
from sinew.data.shares import task_weights
from sinew.data.stats import Body, body_of
from sinew.data.windows import TaskCount, Windows


@dataclass(frozen=True)
class Part:
    """One source of a mixture.

    Attributes:
        name: of the source, unique in its mixture.
        windows: cut at the source's own rate; horizons may differ, histories may not.
        weight: see ``shares``.
        quality: (E,) factors on the loss of each of the windows' episodes, such as scores of how good they are; None
            weighs all alike.
    """

    name: str
    windows: Windows
    weight: float = 1.0
    quality: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Line:
    """What a source brings to a run, a row of the table that is shown before training.

    Attributes:
        name: of the source.
        episodes: it has. frames: it has.
        weight: as given, or at the run's begin.
        share: of all rows drawn.
        epochs: how often each of its frames is seen.
        quality: mean factor on the loss of its frames; None where all sources weigh all episodes alike.
    """

    name: str
    episodes: int
    frames: int
    weight: float
    share: float
    epochs: float
    quality: float | None = None


class Mixture:
    """Random access to windows over several sources, and the draws that weigh them.

    Frames are numbered through the sources, one after another. It gathers what ``Windows`` gathers. Where bodies
    differ, cameras, states and actions are padded with zeros: ``Observation.present`` says which rows have a camera or
    sensor, ``action_mask`` which actions, and ``context["body"]`` (B,) which of ``bodies`` a row is of. Rates are not
    converted: a row's ticks and steps are those of its own body. A mixture of one body has neither masks nor context.

    Args:
        parts: the sources.
        temperature: see ``shares``.
        stages: see ``Plan``.
        task_power: see ``task_weights``.

    Raises:
        DataError: no parts, two of one name, histories or image sizes that differ.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        temperature: float = 1.0,
        stages: Sequence[Stage] = (),
        task_power: float = 0.0,
    ) -> None:
        names = [part.name for part in parts]
        if not parts or len(set(names)) != len(names):
            raise DataError(f"a mixture of the sources {names}: at least one is needed, each with a name of its own.")
        self.parts, self.temperature, self.stages = tuple(parts), temperature, tuple(stages)
        self.task_power = task_power
        self.bodies: tuple[Body, ...] = tuple(dict.fromkeys(body_of(part.windows.spec) for part in parts))
        self._body = np.array([self.bodies.index(body_of(part.windows.spec)) for part in parts])
        self.shapes = shapes_of(names, [part.windows for part in parts])
        self._task_weight: dict[str, float] = {}
        self._index()

    @property
    def spec(self) -> RobotSpec:
        """The robot.

        Raises:
            DataError: the sources are of several.
        """
        if len(self.bodies) > 1:
            bodies = ", ".join(map(str, self.bodies))
            raise DataError(f"the mixture is of several bodies ({bodies}), a single one is wanted here.")
        return self.parts[0].windows.spec

    @property
    def num_frames(self) -> int:
        """Windows to choose from."""
        return int(self._begin[-1])

    @property
    def num_episodes(self) -> int:
        """Episodes of all sources."""
        return sum(part.windows.num_episodes for part in self.parts)

    def describe(self) -> tuple[TaskCount, ...]:
        """Return episodes and frames per task, over all sources."""
        found: dict[str, TaskCount] = {}
        for count in (count for part in self.parts for count in part.windows.describe()):
            old = found.get(count.task, TaskCount(count.task, 0, 0))
            found[count.task] = TaskCount(count.task, old.episodes + count.episodes, old.frames + count.frames)
        return tuple(found.values())

    def refresh(self) -> None:
        """Take notice of episodes that were appended."""
        for part in self.parts:
            part.windows.refresh()
        self._index()

    def frames_of(self, episode: int) -> NDArray[np.int64]:
        """Return the numbers of all frames of an episode, in their order.

        Raises:
            DataError: there is none of that number.
        """
        source, number = self._episode(episode)
        return self._begin[source] + self.parts[source].windows.frames_of(number)

    def named(self, episode: int) -> tuple[str, str]:
        """Return the name, led by that of the source, and the instruction of an episode."""
        source, number = self._episode(episode)
        name, instruction = self.parts[source].windows.named(number)
        return f"{self.parts[source].name}: {name}", instruction

    def gather(self, frames: NDArray[np.int64]) -> NumpyBatch:
        """Return the windows at these frames, in this order; see ``Windows.gather`` and above.

        Weights are 1, or those of the tasks, times the quality of the episodes. Sources carry the names of their parts.

        Raises:
            DataError: a number is out of range.
        """
        if len(frames) and not 0 <= frames.min() <= frames.max() < self.num_frames:
            raise DataError(f"frames {frames.min()} .. {frames.max()} are asked for, there are {self.num_frames}.")
        source = np.searchsorted(self._begin, frames, side="right") - 1
        taken: list[tuple[NDArray[np.int64], NumpyBatch]] = []
        for number, part in enumerate(self.parts):
            rows = np.flatnonzero(source == number)
            if len(rows):
                batch = part.windows.gather(frames[rows] - self._begin[number])
                quality = self._quality[number]
                weight = batch.weight if quality is None else quality[frames[rows] - self._begin[number]]
                taken.append((rows, dataclasses.replace(batch, source=(part.name,) * len(rows), weight=weight)))
        batch = join(taken, self.shapes, len(frames))
        if len(self.bodies) > 1:
            context = {**batch.obs.context, "body": self._body[source]}
            batch = dataclasses.replace(batch, obs=dataclasses.replace(batch.obs, context=context))
        if self.task_power:
            weight = np.array([self._task_weight[task] for task in batch.task], dtype=np.float32)
            batch = dataclasses.replace(batch, weight=batch.weight * weight)
        return batch

    def draws(self, *, seed: int, batch: int, updates: int) -> Draws:
        """Return the sampler of a run, and set the weights of the tasks to what it will draw."""
        draws = Draws(
            Plan(
                frames=tuple(part.windows.num_frames for part in self.parts),
                weights=tuple(part.weight for part in self.parts),
                temperature=self.temperature,
                stages=self.stages,
                updates=updates,
                batch=batch,
                seed=seed,
            )
        )
        self._weigh(draws.drawn(updates))
        return draws

    def drawn(self, draws: Draws, update: int) -> NDArray[np.int64]:
        """Return the frames of an update, (B,)."""
        source, frames = draws.rows(update)
        return self._begin[source] + frames

    def lines(self, draws: Draws) -> tuple[Line, ...]:
        """Return what each source brings to the run that ``draws`` is of; scores that are told later change it."""
        drawn = draws.drawn(draws.plan.updates)
        weights = self.stages[0].weights if self.stages else [part.weight for part in self.parts]
        return tuple(
            Line(
                name=part.name,
                episodes=part.windows.num_episodes,
                frames=part.windows.num_frames,
                weight=weight,
                share=float(rows / drawn.sum()),
                epochs=float(rows / max(1, part.windows.num_frames)),
                quality=quality,
            )
            for part, weight, rows, quality in zip(self.parts, weights, drawn, self._mean_quality(), strict=True)
        )

    def _mean_quality(self) -> list[float | None]:
        """Return the mean factor on the loss of each source's frames; None for all where no source has any."""
        if all(quality is None for quality in self._quality):
            return [None] * len(self.parts)
        return [1.0 if quality is None else float(quality.mean()) for quality in self._quality]

    def _weigh(self, drawn: NDArray[Any]) -> None:
        """Give every task its loss weight, by how often its frames are drawn."""
        frequency: dict[str, float] = {}
        for part, rows in zip(self.parts, drawn, strict=True):
            for count in part.windows.describe():
                share = count.frames / part.windows.num_frames
                frequency[count.task] = frequency.get(count.task, 0.0) + float(rows) * share
        self._task_weight = task_weights(frequency, self.task_power)

    def _index(self) -> None:
        sizes = [part.windows.num_frames for part in self.parts]
        self._quality = [_by_frame(part) for part in self.parts]
        self._begin = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes, dtype=np.int64)])
        self._weigh(np.asarray(sizes))

    def _episode(self, episode: int) -> tuple[int, int]:
        left = episode
        for source, part in enumerate(self.parts):
            if 0 <= left < part.windows.num_episodes:
                return source, left
            left -= part.windows.num_episodes
        raise DataError(f"there is no episode {episode} in this mixture, which has {self.num_episodes}.")


def _by_frame(part: Part) -> NDArray[np.float32] | None:
    """Return the quality of the episode that each frame is of."""
    if part.quality is None:
        return None
    if len(part.quality) != part.windows.num_episodes or not (part.quality >= 0).all():
        raise DataError(
            f"{part.name}: {len(part.quality)} quality factors for {part.windows.num_episodes} episodes; "
            "one of 0 or more is wanted for each."
        )
    lengths = [len(part.windows.frames_of(number)) for number in range(part.windows.num_episodes)]
    return np.repeat(np.asarray(part.quality, dtype=np.float32), lengths)


def table(lines: Sequence[Line]) -> list[str]:
    """Return the sources as lines of text, aligned, under a head."""
    weighed = any(line.quality is not None for line in lines)
    head = ("source", "episodes", "frames", "weight", "drawn", "epochs", *(("quality",) if weighed else ()))
    rows = [
        (
            line.name,
            str(line.episodes),
            str(line.frames),
            f"{line.weight:g}",
            f"{100 * line.share:.1f} %",
            f"{line.epochs:.2f}",
            *((f"{line.quality:.2f}",) if weighed and line.quality is not None else ()),
        )
        for line in lines
    ]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in [head, *rows]
    ]
