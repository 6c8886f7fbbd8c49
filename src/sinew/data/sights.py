"""Scenes of a world with what is said of them, as a data set of images and conversations in LLaVA's layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from sinew.core.chat import IMAGE, Turn
from sinew.core.sights import Sight, Sights
from sinew.data.formats.image_text import ImageText
from sinew.data.formats.llava import Llava


def write_sights(
    path: Path,
    sights: Sights,
    count: int,
    *,
    questions: int = 24,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write scenes of the training split to a new directory, a record each, groups taking turns.

    The first exchange of a record asks for the caption, the others are its questions.

    Args:
        path: the directory; must not exist.
        sights: the world's scenes.
        count: how many scenes.
        questions: of a scene at most.
        on_progress: called with scenes written and in all.

    Raises:
        DataError: there is something already.
        SinewError: the place cannot be written.
    """
    groups = sights.groups
    scenes = (sights.look("train", groups[number % len(groups)], number // len(groups)) for number in range(count))
    records = (told(scene, sights.describe, questions) for scene in scenes)
    Llava.write(path, records, on_record=None if on_progress is None else lambda done: on_progress(done, count))


def told(sight: Sight, describe: str, questions: int) -> ImageText:
    """Return a scene as one conversation: the caption, then questions."""
    turns = [Turn("human", f"{IMAGE}\n{describe}"), Turn("gpt", sight.caption), *_asked(sight, questions)]
    return ImageText(sight.id, (sight.image,), tuple(turns))


def _asked(sight: Sight, questions: int) -> Iterator[Turn]:
    for question in sight.questions[:questions]:
        yield Turn("human", question.text)
        yield Turn("gpt", question.answer)
