"""What a world offers when people play with it: things to move by hand, and sentences it understands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sinew.core.types import NumpyObservation, VecEnv


@dataclass(frozen=True)
class Movable:
    """A thing that a hand may move.

    Attributes:
        name: as people call it.
        place: (3,) its middle [m]. radius: about half its width [m].
    """

    name: str
    place: NDArray[np.float32]
    radius: float


@dataclass(frozen=True)
class Meaning:
    """What a sentence asks for.

    Attributes:
        plain: the shortest sentence that asks for the same.
        points: (K, 3) where the things are that it names [m].
    """

    plain: str
    points: NDArray[np.float32]


@runtime_checkable
class Playable(VecEnv, Protocol):
    """A world to play with. Every row must have been reset before."""

    def sketch(self, row: int, size: int) -> NDArray[np.uint8]:
        """Return what ``picture`` returns, drawn fast enough to be watched; it may be coarser."""
        ...

    def movables(self, row: int) -> tuple[Movable, ...]:
        """Return the things that may be moved, in an order that stays the same for the whole episode."""
        ...

    def hold(self, row: int, number: int, point: NDArray[np.float32]) -> NumpyObservation:
        """Hold a thing in the hand, above the place that one sees at ``point``, until it is dropped.

        Time may go on meanwhile. Nothing is judged while something is held.

        Args:
            row: of the world.
            number: of the thing in ``movables``.
            point: (2,) of the picture, x and y in 0 .. 1; a point out of reach means the nearest one within.

        Returns:
            What a policy sees then.
        """
        ...

    def drop(self, row: int) -> NumpyObservation:
        """Put down what is held, at the nearest free place; that it was moved is nobody's fault."""
        ...

    def suggestions(self, row: int) -> tuple[str, ...]:
        """Return sentences that make sense here now, the most different ones first."""
        ...

    def understand(self, row: int, sentence: str) -> Meaning | None:
        """Return what a sentence asks for in this scene, or None where the world cannot judge it."""
        ...

    def ready(self, row: int) -> NDArray[np.float32] | None:
        """Return the next action (A,) on the way to where an attempt may begin, None where it may begin at once."""
        ...

    def told(self, state_id: str, sentence: str) -> str:
        """Return the id of the same initial state under this instruction."""
        ...

    def instruct(self, row: int, sentence: str) -> NumpyObservation:
        """Begin a new attempt in the world as it stands, under this instruction, word for word.

        One that the world does not understand is passed on all the same; it then judges nothing but the time.
        """
        ...
