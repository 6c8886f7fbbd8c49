"""The conversations that a vision-language model is taught by, read in or shown by a world, with its exams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sinew.core.config import digest
from sinew.core.errors import ConfigError
from sinew.core.sights import Sight, Sights
from sinew.data.config import TextConfig
from sinew.data.sights import write_sights
from sinew.data.text_batches import text_rows
from sinew.data.text_ingest import open_text
from sinew.data.text_store import TextStore
from sinew.evaluate.answers import CAPTION, Ask, Exam
from sinew.run.screen import counting, say
from sinew.run.stages import TextsConfig

if TYPE_CHECKING:
    from sinew.run import RunConfig

MOST_WORDS = 2000
"""Records whose texts are read to find the words of a model that learns its own; a world says its words itself."""


@dataclass(frozen=True)
class Corpus:
    """What is learned from and what is examined.

    Attributes:
        stores: by role, "captions" and "instructions". learned: numbers of the records of each to learn from.
        exams: by split; the first one counts.
        texts: hold the words of the conversations.
    """

    stores: dict[str, TextStore]
    learned: dict[str, NDArray[np.int64]]
    exams: dict[str, Exam]
    texts: tuple[str, ...]


def sights_of(config: RunConfig) -> Sights:
    """Return the scenes of a run's world.

    Raises:
        ConfigError: the world has none.
    """
    make = getattr(config.world, "sights", None)
    if make is None:
        raise ConfigError(f"{config.world.kind} describes no scenes. Name conversations instead: --data PATH.")
    return make()


def texts_of(config: RunConfig) -> TextsConfig:
    """Return the settings of a run's conversations, the usual ones where it says nothing."""
    return config.texts or TextsConfig()


def scenes_path(config: RunConfig, root: Path) -> Path:
    """Return where the world's described scenes lie; no seed changes them, so runs share them."""
    texts = texts_of(config)
    return root / "data" / f"{config.name}-scenes-{digest(config.world, [texts.scenes, texts.questions])}"


def gather(config: RunConfig, root: Path, size: tuple[int, int]) -> Corpus:
    """Return the conversations, written or read in now if they were not before.

    Args:
        config: of the run.
        root: directory that holds runs.
        size: height and width of the images [px].

    Raises:
        DataError: a data set is missing or damaged.
        ConfigError: there is neither a data set nor a world that describes scenes.
    """
    texts = texts_of(config)
    if texts.instructions or texts.captions:
        return _named(texts, root, size)
    sights = sights_of(config)
    path = scenes_path(config, root)
    if not path.exists():
        with counting("scenes") as tell:
            write_sights(path, sights, texts.scenes, questions=texts.questions, on_progress=tell)
    store = _read(path, root, TextConfig(image_size=size, storage="raw"))
    say(f"  {store.num_records} scenes with captions and questions in {path}")
    every = np.arange(store.num_records)
    exams = {split: examination(sights, split, texts.exam) for split in sights.splits if split != "train"}
    roles = ("captions", "instructions")
    return Corpus(dict.fromkeys(roles, store), dict.fromkeys(roles, every), exams, sights.texts())


def examination(sights: Sights, split: str, most: int) -> Exam:
    """Return up to ``most`` questions of each kind and group about new scenes of a split, one of a kind a scene."""
    images: list[NDArray[np.uint8]] = []
    asks: list[Ask] = []
    captions: list[Ask] = []
    for group in sights.groups:
        for number in range(most):
            scene = sights.look(split, group, number)
            captions.append(Ask(CAPTION, group, len(images), f"<image>\n{sights.describe}", scene.caption))
            asks += _one_a_kind(scene, group, len(images))
            images.append(scene.image)
    order = {ask.kind: None for ask in asks}
    asks.sort(key=lambda ask: list(order).index(ask.kind))
    return Exam(np.stack(images), tuple(asks), tuple(captions), sights.score)


def _one_a_kind(scene: Sight, group: str, image: int) -> Iterator[Ask]:
    first = {question.kind: question for question in reversed(scene.questions)}
    for kind, question in first.items():
        yield Ask(kind, group, image, f"<image>\n{question.text}", question.answer)


def _named(texts: TextsConfig, root: Path, size: tuple[int, int]) -> Corpus:
    """Return what is read from data sets; the last records of the instructions are examined."""
    paths = {"captions": texts.captions or texts.instructions, "instructions": texts.instructions or texts.captions}
    stores = {role: _read(Path(path), root, TextConfig(image_size=size)) for role, path in paths.items()}
    learned: dict[str, NDArray[np.int64]] = {}
    for role, store in stores.items():
        learned[role], held_out = store.split(texts.held_out)
        say(f"  {role}: {store.num_records} records in {paths[role]}, {len(held_out)} held out")
    store = stores["instructions"]
    held_out = store.split(texts.held_out)[1][: texts.exam]
    exams = {} if not len(held_out) else {"seen": _held_out(store, held_out)}
    some = range(0, store.num_records, max(1, store.num_records // MOST_WORDS))
    words = {turn.text for number in some for turn in store.text(number)[1]}
    return Corpus(stores, learned, exams, tuple(sorted(words)))


def _held_out(store: TextStore, numbers: NDArray[np.int64]) -> Exam:
    """Return the first question of each record; its kind is what stands before the last slash of the record's name."""
    rows = text_rows(store, numbers)
    asks: list[Ask] = []
    for place, (name, turns) in enumerate(zip(rows.names, rows.turns, strict=True)):
        kind = name.rpartition("/")[0] or "answer"
        answer = next(turn.text for turn in turns if turn.speaker == "gpt")
        asks.append(Ask(kind, "held out", place, turns[0].text, answer))
    looked = [ask for ask in asks if ask.text.count("<image>") == 1]
    images = rows.images[:, 0] if rows.images.shape[1] else np.zeros((len(asks), 3, *store.config.image_size), np.uint8)
    return Exam(images, tuple(looked))


def _read(path: Path, root: Path, config: TextConfig) -> TextStore:
    with counting("records") as tell:
        return open_text(path, into=root / "data", config=config, on_progress=tell)
