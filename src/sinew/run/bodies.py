"""What a policy around a vision-language model learns to move: the robot of a world, or of recordings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from sinew.core.rundir import RunDir
from sinew.data.mixture import Line, Mixture
from sinew.data.stats import statistics
from sinew.data.store import Store
from sinew.data.windows import Windows
from sinew.engine.preflight import Waits
from sinew.engine.trainer import Tried
from sinew.models.config import PolicyConfig
from sinew.models.policy import VLAPolicy
from sinew.run import cloning, offline, reporting
from sinew.run.clock import Clock
from sinew.run.lessons import Lessons, fit
from sinew.run.measuring import Tryout, measure
from sinew.run.parts import action_statistics, fit_head
from sinew.run.waits import of_recordings, of_world

if TYPE_CHECKING:
    from sinew.core.types import Recipe, RobotSpec
    from sinew.run import RunConfig

Note = Callable[[str], None]


class Body(Protocol):
    """A robot with what is known of it."""

    @property
    def spec(self) -> RobotSpec:
        """The robot, or all of several in one."""
        ...

    @property
    def robots(self) -> RobotSpec | tuple[RobotSpec, ...]:
        """The robot, or the several that a policy learns."""
        ...

    @property
    def policy(self) -> PolicyConfig:
        """Settings of the policy, with the points that there are labels for."""
        ...

    @property
    def sentences(self) -> set[str]:
        """Instructions."""
        ...

    @property
    def counts(self) -> Mapping[str, int]:
        """How much there is, by name."""
        ...

    def fit(self, policy: VLAPolicy) -> None:
        """Let a policy know the statistics."""
        ...

    def windows(self) -> Windows | Mixture:
        """Return what is learned from."""
        ...

    def waits(self, recipe: Recipe[Any]) -> Waits:
        """Return what a run takes time for beside updates, given the recipe of its last stage."""
        ...

    def tryout(self, rundir: RunDir, recipe: Recipe[Any], note: Note) -> Callable[[int], Tried]:
        """Return what tries the acting policy out during training."""
        ...

    def measure(self, rundir: RunDir) -> None:
        """Measure the last checkpoint in full."""
        ...

    def write(self, rundir: RunDir, *, command: str, timer: Clock) -> None:
        """Write the report."""
        ...


@dataclass(frozen=True)
class WorldBody:
    """A robot in a world: demonstrations, closed-loop evaluation.

    Attributes:
        config: of the run. stores: demonstrations, then stills. pool: processes that act.
    """

    config: RunConfig
    stores: tuple[Store, ...]
    pool: Executor

    @property
    def spec(self) -> RobotSpec:
        """The robot."""
        return self.stores[0].spec

    @property
    def robots(self) -> RobotSpec:
        """The robot."""
        return self.spec

    @property
    def policy(self) -> PolicyConfig:
        """As configured."""
        return self.config.policy

    @property
    def sentences(self) -> set[str]:
        """Instructions of the demonstrations."""
        return {record.instruction for store in self.stores for record in store.records}

    @property
    def counts(self) -> Mapping[str, int]:
        """Episodes, frames and stills."""
        first, *others = self.stores
        stills = {"stills": sum(store.num_frames for store in others)} if others else {}
        return {"episodes": first.num_episodes, "frames": first.num_frames, **stills}

    def fit(self, policy: VLAPolicy) -> None:
        """Let a policy know the statistics of the demonstrations."""
        first = [self.stores[0]]
        policy.fit_normalizer({**statistics(first), **action_statistics(policy.config, first)})
        fit_head(policy, first)

    def windows(self) -> Windows:
        """Return demonstrations and stills."""
        return self._cut(self.stores, held_out=False)

    def waits(self, recipe: Recipe[Any]) -> Waits:
        """Return tryouts and evaluation, by a few episodes."""
        first = self.stores[0]
        return of_world(self.config, recipe, first.num_frames / first.num_episodes)

    def tryout(self, rundir: RunDir, recipe: Recipe[Any], note: Note) -> Callable[[int], Tried]:
        """Return what tries the acting policy out in the world."""
        first = self.stores[:1]
        return Tryout(
            self.config,
            rundir,
            recipe,
            pool=self.pool,
            note=note,
            training=self._cut(first, held_out=False),
            held_out=self._cut(first, held_out=True),
        )

    def measure(self, rundir: RunDir) -> None:
        """Measure the last checkpoint in closed loop."""
        measure(self.config, rundir, self.pool)

    def write(self, rundir: RunDir, *, command: str, timer: Clock) -> None:
        """Write films and the report."""
        reporting.write(self.config, rundir, command=command, pool=self.pool, timer=timer)

    def _cut(self, stores: Sequence[Store], *, held_out: bool) -> Windows:
        shape = self.config.policy
        return Windows(list(stores), history=shape.history, horizon=shape.horizon, held_out=held_out)


@dataclass(frozen=True)
class RecordedBody:
    """A robot in recordings: measured on held-out episodes.

    Attributes:
        config: of the run. known: the recordings.
    """

    config: RunConfig
    known: Lessons

    @property
    def spec(self) -> RobotSpec:
        """The robot."""
        return self.known.spec

    @property
    def robots(self) -> RobotSpec | tuple[RobotSpec, ...]:
        """The robot, or the several that are recorded."""
        return self.known.bodies or self.known.spec

    @property
    def policy(self) -> PolicyConfig:
        """As configured, with the points that the recordings have labels for."""
        return self.known.policy

    @property
    def sentences(self) -> set[str]:
        """Instructions of the training episodes."""
        return {record.instruction for record in self.known.records if not record.held_out}

    @property
    def counts(self) -> Mapping[str, int]:
        """Episodes and frames."""
        held_out = sum(record.held_out for record in self.known.records)
        return {
            "episodes": len(self.known.records),
            "frames": self.known.num_frames,
            "held-out episodes": held_out,
        }

    def fit(self, policy: VLAPolicy) -> None:
        """Let a policy know the statistics of the training episodes."""
        fit(policy, self.known)

    def windows(self) -> Windows | Mixture:
        """Return the training episodes."""
        return self.known.windows(held_out=False)

    def waits(self, recipe: Recipe[Any]) -> Waits:
        """Return how long held-out episodes take."""
        return of_recordings(self.config, recipe, self.known)

    def tryout(self, rundir: RunDir, recipe: Recipe[Any], note: Note) -> Callable[[int], Tried]:
        """Return what measures the acting policy on held-out episodes."""
        return offline.OfflineTryout(self.config, rundir, recipe, lessons=self.known, note=note)

    def measure(self, rundir: RunDir) -> None:
        """Measure a checkpoint on held-out episodes."""
        offline.measure(self.config, rundir, self.known)

    def write(self, rundir: RunDir, *, command: str, timer: Clock) -> None:
        """Write the report."""
        del command
        cloning.write(self.config, rundir, timer=timer)


def lines_of(windows: Windows | Mixture, *, batch: int, updates: int, seed: int) -> tuple[Line, ...]:
    """Return what each source of windows brings to a stage."""
    if isinstance(windows, Mixture):
        return windows.lines(windows.draws(seed=seed, batch=batch, updates=updates))
    epochs = batch * updates / max(1, windows.num_frames)
    return (Line("robot", windows.num_episodes, windows.num_frames, 1.0, 1.0, epochs),)
