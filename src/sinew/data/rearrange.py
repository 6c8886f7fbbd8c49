"""Several data sets into one, and one into two."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence

from sinew.core.errors import ConfigError, DataError
from sinew.data.dataset import Dataset, check_same_robot
from sinew.data.episode import Episode
from sinew.data.formats.ingest import held_out


def merged(datasets: Sequence[Dataset]) -> Iterator[Episode]:
    """Yield the episodes of data sets of one robot, one set after the other; each says where it came from.

    Raises:
        SpecError: two are of different robots; every difference is shown with both sides. Nothing was read then.
        DataError: an episode is damaged.
    """
    for other in datasets[1:]:
        check_same_robot(datasets[0], other)
    return _one_after_another(datasets)


def _one_after_another(datasets: Sequence[Dataset]) -> Iterator[Episode]:
    for dataset in datasets:
        for number in range(len(dataset.lengths)):
            episode = dataset.episode(number)
            yield dataclasses.replace(
                episode, spec=datasets[0].spec, source=episode.source or dataset.path.resolve().stem
            )


def chosen_by_share(dataset: Dataset, share: float) -> tuple[int, ...]:
    """Return the episodes that are split off: a share of each task, the same ones every time.

    Raises:
        ConfigError: the share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ConfigError(f"share {share:g}: more than 0 and less than 1 is wanted.")
    return tuple(sorted(held_out(dataset.tasks, share)))


def chosen_by_itself(dataset: Dataset) -> tuple[int, ...]:
    """Return the episodes that the data set itself holds out.

    Raises:
        ConfigError: it holds out none.
    """
    if not dataset.held_out:
        raise ConfigError(
            f"split: {dataset.path} holds no episodes out itself; give one of --share, --tasks and --episodes."
        )
    return tuple(sorted(dataset.held_out))


def chosen_by_task(dataset: Dataset, tasks: Sequence[str]) -> tuple[int, ...]:
    """Return the episodes of some tasks.

    Raises:
        ConfigError: there is no episode of one of them.
    """
    absent = [task for task in tasks if task not in dataset.tasks]
    if absent or not tasks:
        raise ConfigError(
            f"task {', '.join(absent) or '(none)'}: not in {dataset.path}, which has "
            f"{', '.join(sorted(set(dataset.tasks)))}."
        )
    return tuple(number for number, task in enumerate(dataset.tasks) if task in tasks)


def chosen_by_number(dataset: Dataset, text: str) -> tuple[int, ...]:
    """Return the episodes named like ``0-9,12``.

    Raises:
        ConfigError: it cannot be read so, or there is no such episode.
    """
    numbers: set[int] = set()
    for part in text.replace(" ", "").split(","):
        match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if not first <= last < len(dataset.lengths):
            raise ConfigError(
                f"episodes {text}: {part or 'nothing'} is none of the {len(dataset.lengths)} episodes, which count "
                "from 0. Write them like 0-9,12."
            )
        numbers |= {*range(first, last + 1)}
    return tuple(sorted(numbers))


def split(dataset: Dataset, chosen: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the numbers of the episodes that stay and of those that are split off.

    Raises:
        DataError: one of the two would be empty.
    """
    stay = tuple(number for number in range(len(dataset.lengths)) if number not in set(chosen))
    if not stay or not chosen:
        raise DataError(
            f"{dataset.path}: {len(chosen)} of {len(dataset.lengths)} episodes would be split off; at least one has "
            "to be on either side."
        )
    return stay, tuple(chosen)


def some(dataset: Dataset, numbers: Sequence[int], *, undivided: bool = False) -> Iterator[Episode]:
    """Yield these episodes of a data set.

    Args:
        dataset: the whole.
        numbers: of the episodes.
        undivided: none is held out any more, because what they are written to is one side of a split.
    """
    for number in numbers:
        episode = dataset.episode(number)
        yield dataclasses.replace(episode, held_out=False) if undivided else episode
