"""The table-top world: several rows stepped in one process, drawn only when asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import ConfigError, DataError
from sinew.core.types import NumpyObservation, Observation, RobotSpec, Rows, StepResult
from sinew.envs.playable import Meaning, Movable
from sinew.envs.tabletop import playing, starts
from sinew.envs.tabletop.config import TabletopConfig
from sinew.envs.tabletop.language import SKILLS
from sinew.envs.tabletop.render import render_rows
from sinew.envs.tabletop.robot import robot_spec
from sinew.envs.tabletop.row import TRUTH, Row

STATE_SIZE = 10


class TabletopVecEnv:
    """Rows of the table-top world (see ``core.types.VecEnv``).

    Args:
        config: the world's settings.
        num_envs: rows.
    """

    def __init__(self, config: TabletopConfig, num_envs: int) -> None:
        if num_envs < 1:
            raise ConfigError(f"tabletop: asked for {num_envs} rows; give at least 1.")
        self.config = config
        self.rows = [Row(config) for _ in range(num_envs)]
        self._spec = robot_spec(config)
        self._images = np.zeros((num_envs, 1, 3, config.image_size, config.image_size), dtype=np.uint8)
        self._state = np.zeros((num_envs, 1, STATE_SIZE), dtype=np.float32)
        self._truth = {name: np.zeros((num_envs, *shape), dtype=np.float32) for name, shape in TRUTH.items()}

    @property
    def spec(self) -> RobotSpec:
        """The robot in this world."""
        return self._spec

    @property
    def num_envs(self) -> int:
        """How many rows there are."""
        return len(self.rows)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The skills."""
        return SKILLS

    @property
    def splits(self) -> tuple[str, ...]:
        """Training states, new ones, held-out colour-shape pairs, unseen templates, twice the distractors."""
        return starts.splits(self.config)

    @property
    def split_notes(self) -> dict[str, str]:
        """A sentence on each split, for reports."""
        return {
            "seen": "Scenes that training never saw, made of things, pairs and sentences it knows.",
            "pairs": "Colour and shape pairs that training never showed; each colour and each shape it did.",
            "templates": "Sentences that were never heard in training, made of words that were.",
            "crowded": "Twice the distractors.",
        }

    @property
    def target_names(self) -> tuple[str, ...]:
        """``target`` (B, 3), the named object, and ``goal`` (B, 2), the named zone or NaN [m]."""
        return ("target", "goal")

    def states(self, split: str, task: str, count: int, start: int = 0) -> tuple[str, ...]:
        """Return ids ``start .. start + count`` of a split's initial states for one task.

        Raises:
            ConfigError: there is no such split or task.
        """
        starts.check_split(self.config, split, task)
        return tuple(f"{split}/{task}/{index}" for index in range(start, start + count))

    def variant(self, state_id: str, name: str) -> str | None:
        """Return the id of the same scene under another instruction, or None where there is none."""
        return starts.variant(self.config, state_id, name)

    def showcase(self, number: int) -> tuple[str, ...]:
        """Return ``number`` state ids that share one scene under different instructions."""
        return starts.showcase(self.config, number)

    def reset(self, state_ids: Sequence[str], rows: Rows = None) -> NumpyObservation:
        """Start episodes in these rows and return their observations."""
        index = self._index(rows, len(state_ids), "state ids")
        for row, state_id in zip(index, state_ids, strict=True):
            self.rows[row].reset(state_id)
        return self._observe(index, render=True)

    def step(self, actions: NDArray[np.float32], rows: Rows = None, *, render: bool = True) -> StepResult:
        """Apply actions (B, 4), physical units, to these rows for one tick of 0.1 s.

        Raises:
            DataError: wrong shape, a value that is not finite, or a row that was never reset.
        """
        index = self._index(rows, len(actions), "actions")
        if actions.shape != (len(index), self._spec.action_size) or not np.isfinite(actions).all():
            raise DataError(
                f"tabletop: actions of shape {actions.shape}; wanted ({len(index)}, {self._spec.action_size}), "
                f"all finite: {', '.join(self._spec.action)}."
            )
        clipped = np.clip(actions, self._spec.low, self._spec.high).astype(np.float64)
        endings = [self.rows[row].step(action) for row, action in zip(index, clipped, strict=True)]
        success, terminated, truncated = (np.array([ending[k] for ending in endings], dtype=np.bool_) for k in range(3))
        return StepResult(
            obs=self._observe(index, render=render),
            reward=success.astype(np.float32),
            terminated=terminated,
            truncated=truncated,
            success=success,
            note=tuple(ending[3] for ending in endings),
        )

    def get_state(self, rows: Rows = None) -> tuple[bytes, ...]:
        """Return a snapshot of each row that ``set_state`` restores exactly."""
        return tuple(self.rows[row].snapshot() for row in self._index(rows))

    def set_state(self, states: Sequence[bytes], rows: Rows = None) -> NumpyObservation:
        """Restore snapshots and return the observations there.

        Raises:
            DataError: a snapshot is not one of this world.
        """
        index = self._index(rows, len(states), "snapshots")
        for row, state in zip(index, states, strict=True):
            self.rows[row].restore(state)
        return self._observe(index, render=True)

    def picture(self, row: int, size: int) -> NDArray[np.uint8]:
        """Return a picture of one row for people, (size, size, 3) RGB."""
        return self.rows[row].picture(size)

    def sketch(self, row: int, size: int) -> NDArray[np.uint8]:
        """Return the same picture a little coarser, in half the time."""
        return self.rows[row].picture(size, draft=True)

    def project(self, row: int, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return where points (K, 2 or 3) [m] lie in ``picture``, (K, 2) in 0 .. 1 from the upper left corner."""
        return self.rows[row].project(points)

    def movables(self, row: int) -> tuple[Movable, ...]:
        """Return the objects."""
        return playing.movables(self.rows[row])

    def hold(self, row: int, number: int, point: NDArray[np.float32]) -> NumpyObservation:
        """Hold an object above the place of the table that is seen at ``point``; see ``envs.playable``."""
        playing.hold(self.rows[row], number, point)
        return self._again(row)

    def drop(self, row: int) -> NumpyObservation:
        """Put down what is held, at the nearest free place."""
        playing.drop(self.rows[row])
        return self._again(row)

    def suggestions(self, row: int) -> tuple[str, ...]:
        """Return sentences for everything that can be done here now."""
        return playing.suggestions(self.rows[row])

    def understand(self, row: int, sentence: str) -> Meaning | None:
        """Return what a sentence asks for in this scene, or None where it cannot be judged."""
        return playing.meaning(self.rows[row], sentence)

    def ready(self, row: int) -> NDArray[np.float32] | None:
        """Return the next action on the way to an open, raised hand that holds nothing, None where it is there."""
        return playing.ready(self.rows[row])

    def told(self, state_id: str, sentence: str) -> str:
        """Return the id of the same scene under any instruction."""
        return starts.told(self.config, state_id, sentence)

    def instruct(self, row: int, sentence: str) -> NumpyObservation:
        """Begin a new attempt in the world as it stands, under any instruction; see ``envs.playable``."""
        self.rows[row].tell(sentence, playing.understand(sentence, self.rows[row].start.layout))
        return self._again(row)

    def _again(self, row: int) -> NumpyObservation:
        self.rows[row].look()
        return self._observe(np.array([row]), render=True)

    def _index(self, rows: Rows, wanted: int | None = None, what: str = "") -> NDArray[np.int64]:
        index = np.arange(self.num_envs) if rows is None else np.asarray(rows, dtype=np.int64)
        if wanted is not None and wanted != len(index):
            raise DataError(f"tabletop: {wanted} {what} for {len(index)} rows; give one per row.")
        if len(index) and (index.min() < 0 or index.max() >= self.num_envs):
            raise DataError(f"tabletop: rows {index.tolist()}, but there are rows 0 to {self.num_envs - 1}.")
        return index

    def _observe(self, index: NDArray[np.int64], *, render: bool) -> NumpyObservation:
        for row in index:
            self.rows[row].fill(self._state[row, 0], self._truth, row)
        if render and len(index):
            cameras, datas = zip(*(self.rows[row].view() for row in index), strict=True)
            self._images[index, 0] = render_rows(cameras, datas)
        return Observation(
            images={"front": self._images[index]},
            state=self._state[index],
            instruction=tuple(self.rows[row].instruction for row in index),
            privileged={name: values[index] for name, values in self._truth.items()},
        )
