"""Conversations about images, and how they become token ids; what data, worlds and models agree on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

IMAGE = "<image>"
"""Stands in a text where an image is looked at."""
NO_LOSS = -100
"""Stands in the labels where nothing is learned."""
SHARE = 1024
"""Segment ids are ``SHARE * record + part``, records counted from 1; the other parts of a record see its part 0."""
Encode = Callable[[str], Sequence[int]]
"""Returns the ids of a text, without any of start or end: ``lambda text: tokenizer.encode(text).ids``."""
Speaker = Literal["human", "gpt"]


@dataclass(frozen=True)
class Turn:
    """What one side of a conversation says; ``gpt`` is the side that is learned."""

    speaker: Speaker
    text: str


@dataclass(frozen=True)
class Piece:
    """Token ids and labels of one length; labels are the ids where something is learned, else ``NO_LOSS``."""

    ids: list[int]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Chat:
    """How a conversation becomes token ids.

    Attributes:
        encode: ids of a text.
        image_ids: ids that stand for one image, as many as the model has tokens for it.
        start: text before the first turn.
        start_ids: ids before everything, such as the one that begins a sequence.
        human: text before what human says. gpt: text before what gpt says.
        end_ids: ids after each answer, learned with it, such as the one that ends a sequence.
        plain: of what human says keep the images only, as LLaVA's first stage does (Liu 2023, arXiv:2304.08485).
    """

    encode: Encode
    image_ids: tuple[int, ...]
    start: str = ""
    start_ids: tuple[int, ...] = ()
    human: str = "USER: "
    gpt: str = " ASSISTANT: "
    end_ids: tuple[int, ...] = ()
    plain: bool = False

    def tokenize(self, turns: Sequence[Turn]) -> tuple[list[int], list[int]]:
        """Return ids and labels of a conversation, of one length.

        Labels are the ids themselves where gpt speaks, its ``end_ids`` included, and ``NO_LOSS`` elsewhere; they are
        not shifted. Each piece of text is encoded by itself, so that the same prompt has the same ids when it is
        asked without the answer.
        """
        ids = self._opening()
        labels = [NO_LOSS] * len(ids)
        for turn in turns:
            if turn.speaker == "human":
                piece = self._question(turn.text)
                answer: list[int] = []
            else:
                piece = self._reply()
                answer = [*self.encode(turn.text), *self.end_ids]
            ids += piece + answer
            labels += [NO_LOSS] * len(piece) + answer
        return ids, labels

    def prompt(self, text: str) -> list[int]:
        """Return the ids after which the model answers what human says, and nothing was said before."""
        return [*self._opening(), *self._question(text), *self._reply()]

    def apart(self, turns: Sequence[Turn]) -> tuple[list[int], list[Piece]]:
        """Return what all questions of a conversation share, and each with its answer as if it were the only one.

        The shared ids end with the images of the first question. Behind them stand the same ids as when a question is
        asked alone with the images before it, so that many questions may share the cost of one image.
        """
        first = next((turn.text for turn in turns if turn.speaker == "human"), "")
        looked = first[: first.rfind(IMAGE) + len(IMAGE)] if IMAGE in first else ""
        shared = [*self._opening(), *self._question(looked)]
        between = "\n" if first[len(looked) :].startswith("\n") else ""
        pieces: list[Piece] = []
        asked: list[int] = []
        begun = False
        for turn in turns:
            if turn.speaker == "human":
                text = between + turn.text if begun else turn.text[len(looked) :]
                asked, begun = [*self.encode(text)] if text and not self.plain else [], True
            else:
                answer = [*self.encode(turn.text), *self.end_ids]
                question = [*asked, *self._reply()]
                pieces.append(Piece(question + answer, [NO_LOSS] * len(question) + answer))
        return shared, pieces

    def _opening(self) -> list[int]:
        return [*self.start_ids, *(self.encode(self.start) if self.start else ())]

    def _reply(self) -> list[int]:
        return [*self.encode(self.gpt)] if self.gpt and not self.plain else []

    def _question(self, text: str) -> list[int]:
        ids: list[int] = []
        for number, part in enumerate((self.human * (not self.plain) + text).split(IMAGE)):
            ids += self.image_ids if number else ()
            ids += self.encode(part) if part and not self.plain else ()
        return ids
