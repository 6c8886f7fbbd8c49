"""Policies that a trained one is held against."""

from __future__ import annotations

import dataclasses
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sinew.core.types import NumpyObservation, Policy, RobotSpec, Rows

GREY = 127


@runtime_checkable
class Drawing(Protocol):
    """A policy with a stream of random numbers of its own."""

    def seed(self, number: int) -> None:
        """Start the stream anew."""
        ...


class RandomPolicy:
    """Acts uniformly within the bounds; its success rate is the measured chance.

    Two-valued actions are coin flips that hold for a few ticks, since a flip every tick would never
    grasp anything. Every row has its own stream, which depends on the seed, the row and how often
    the row was reset.

    Args:
        spec: the robot.
        seed: of the streams.
        hold: mean number of ticks between flips.
    """

    def __init__(self, spec: RobotSpec, seed: int = 0, *, hold: float = 5.0) -> None:
        self.spec = spec
        self.seed = seed
        self.flip = 1.0 / hold
        self.low = np.asarray(spec.low)
        self.high = np.asarray(spec.high)
        self.binary = np.asarray(spec.binary_mask, dtype=np.bool_)
        self.streams: dict[int, np.random.Generator] = {}
        self.starts: dict[int, int] = {}
        self.held: dict[int, NDArray[np.bool_]] = {}

    def reset(self, rows: Rows = None) -> None:
        """Give each row a new stream."""
        for row in self.streams if rows is None else rows:
            self._start(int(row))

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        """Return actions (B, A), physical units."""
        index = range(obs.num_rows) if rows is None else rows
        return np.stack([self._draw(int(row)) for row in index]).astype(np.float32)

    def _start(self, row: int) -> None:
        start = self.starts[row] = self.starts.get(row, -1) + 1
        stream = self.streams[row] = np.random.default_rng((self.seed, row, start))
        self.held[row] = stream.random(len(self.low)) < 0.5

    def _draw(self, row: int) -> NDArray[np.float64]:
        if row not in self.streams:
            self._start(row)
        stream = self.streams[row]
        share, coin, change = stream.random((3, len(self.low)))
        held = self.held[row] = np.where(change < self.flip, coin < 0.5, self.held[row])
        return self.low + (self.high - self.low) * np.where(self.binary, held, share)


class Blank:
    """A policy whose cameras show nothing but grey: what it still does, it does without looking.

    Args:
        policy: the policy to blindfold.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    @property
    def spec(self) -> RobotSpec:
        """The robot of the policy within."""
        return self.policy.spec

    def reset(self, rows: Rows = None) -> None:
        """Forget these rows."""
        self.policy.reset(rows)

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        """Return the actions (B, A) that grey images lead to."""
        images = {name: np.full_like(image, GREY) for name, image in obs.images.items()}
        return self.policy.select_action(dataclasses.replace(obs, images=images), rows)
