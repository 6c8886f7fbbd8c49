"""What can be said of a still picture: a world shows scenes, describes them and asks about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray


@dataclass(frozen=True)
class Question:
    """One question about a scene.

    Attributes:
        kind: what it asks for, such as "colour"; answers are counted by it.
        text: what is asked. answer: the only right one.
    """

    kind: str
    text: str
    answer: str


@dataclass(frozen=True)
class Sight:
    """One scene with all that is said of it.

    Attributes:
        id: names the scene, the same one on every machine.
        image: (3, h, w) uint8 RGB.
        caption: all that is there and where, in one fixed order.
        questions: every question with one right answer, in random order.
    """

    id: str
    image: NDArray[Any]
    caption: str
    questions: tuple[Question, ...]


class Sights(Protocol):
    """Scenes of a world, each made from its id alone.

    Attributes:
        describe: what is said to ask for a caption.
        groups: scenes of growing difficulty; answers are counted by them.
        splits: "train", "seen" (new scenes of what training knows) and, where there are any, held-out ones.
    """

    describe: str
    groups: tuple[str, ...]
    splits: tuple[str, ...]

    def look(self, split: str, group: str, number: int) -> Sight:
        """Return a scene.

        Raises:
            ConfigError: there is no such split or group.
        """
        ...

    def score(self, caption: str, said: str) -> float:
        """Return how much of a caption (0 to 1) somebody's description gets right."""
        ...

    def texts(self) -> tuple[str, ...]:
        """Return texts that hold every word of captions, questions and answers, for a tokenizer to know."""
        ...
