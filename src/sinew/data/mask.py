"""Which episodes of a data set are learned from, and which of their frames: a small file beside the data.

``demos.mask.json`` for ``demos.hdf5``, ``mask.json`` in a directory::

    {"schema_version": 1, "num_episodes": 3, "episodes": {"1": {"keep": null, "quality": 0.0, "why": ["nan"]},
                                                          "2": {"keep": [12, 80], "quality": 0.83, "why": ["idle"]}}}

``keep`` is the first frame kept and the one after the last, or null where the episode is left out; an episode
that is not listed is kept whole, at quality 1. The data themselves are never changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sinew.core.config import load, to_dict
from sinew.core.errors import DataError
from sinew.core.files import write_json
from sinew.core.types import RobotSpec
from sinew.data.episode import Episode

if TYPE_CHECKING:
    from sinew.data.formats.source import Source

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Part:
    """What is kept of one episode.

    Attributes:
        keep: first frame kept and the one after the last; None leaves the episode out.
        quality: 0 .. 1, see ``data/quality/score.py``.
        why: kinds of findings that led to it.
    """

    keep: tuple[int, int] | None
    quality: float = 1.0
    why: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mask:
    """What is kept of a data set.

    Attributes:
        num_episodes: of the data set it was made for.
        episodes: by number; those not listed are kept whole.
    """

    num_episodes: int
    episodes: Mapping[int, Part] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def kept(self, lengths: Iterable[int]) -> dict[int, tuple[int, int]]:
        """Return first frame and the one after the last by number of the episodes that are kept."""
        whole = {number: Part((0, length)) for number, length in enumerate(lengths)}
        ranges = {number: self.episodes.get(number, part).keep for number, part in whole.items()}
        return {number: keep for number, keep in ranges.items() if keep is not None}

    def qualities(self) -> tuple[float, ...]:
        """Return the quality of every episode of the data set, left out or not."""
        return tuple(self.episodes.get(number, Part(None)).quality for number in range(self.num_episodes))


def mask_path(dataset: Path) -> Path:
    """Return where the mask of a data set lies: inside its folder, or beside its file."""
    return dataset / "mask.json" if dataset.is_dir() else dataset.with_name(f"{dataset.stem}.mask.json")


def write_mask(path: Path, mask: Mask) -> None:
    """Write a mask, atomically."""
    write_json(path, to_dict(mask))


def read_mask(path: Path, lengths: tuple[int, ...]) -> Mask:
    """Read a mask and hold it against the data set.

    Args:
        path: the mask.
        lengths: frames by episode of the data set.

    Raises:
        ConfigError: it holds unknown fields or wrong values.
        DataError: it is missing or not JSON, of another schema version, or of another data set.
    """
    mask = load(Mask, path)
    if mask.schema_version != SCHEMA_VERSION:
        raise DataError(
            f"{path}: schema version {mask.schema_version}, this sinew reads {SCHEMA_VERSION}. Write it again: "
            "sinew data filter."
        )
    if mask.num_episodes != len(lengths):
        raise DataError(
            f"{path}: was made for {mask.num_episodes} episodes, the data set has {len(lengths)}. "
            "Write it again (sinew data filter), or remove it."
        )
    if not mask.kept(lengths):
        raise DataError(f"{path}: leaves out all {len(lengths)} episodes. Remove it, or filter less.")
    for number, part in mask.episodes.items():
        length = lengths[number] if 0 <= number < len(lengths) else 0
        if part.keep is not None and not 0 <= part.keep[0] < part.keep[1] <= length:
            raise DataError(
                f"{path}: keeps frames {part.keep[0]} to {part.keep[1]} of episode {number}, which has {length}. "
                "Write it again (sinew data filter), or remove it."
            )
    return mask


def cut_episode(episode: Episode, keep: tuple[int, int]) -> Episode:
    """Return the frames that are kept; an episode that loses some gets another id, so that nothing mistakes its frames.

    Args:
        episode: the whole.
        keep: first frame kept and the one after the last.
    """
    first, last = keep
    if keep == (0, episode.num_frames):
        return episode
    part = slice(first, last)
    return dataclasses.replace(
        episode,
        images={name: images[part] for name, images in episode.images.items()},
        state=episode.state[part],
        action=episode.action[part],
        executed=episode.executed[part],
        targets={name: target[part] for name, target in episode.targets.items()},
        id=f"{episode.id}[{first}:{last}]",
        sensors={name: readings[part] for name, readings in episode.sensors.items()},
        reward=None if episode.reward is None else episode.reward[part],
        terminated=episode.terminated and last == episode.num_frames,
        final_state=episode.final_state if last == episode.num_frames else episode.state[last],
    )


class Masked:
    """A recorded data set as its mask shows it; see ``Source``."""

    def __init__(self, source: Source, path: Path) -> None:
        mask = read_mask(path, source.lengths)
        self.source, self.mask_file = source, path
        self.path, self.facts = source.path, source.facts
        self.unread, self.judged = source.unread, source.judged
        self.kept = tuple(mask.kept(source.lengths).items())
        self.lengths = tuple(last - first for _, (first, last) in self.kept)
        self.instructions = tuple(source.instructions[number] for number, _ in self.kept)
        self.tasks = tuple(source.tasks[number] for number, _ in self.kept)
        own: frozenset[int] = getattr(source, "held_out", frozenset())
        self.held_out = frozenset(place for place, (number, _) in enumerate(self.kept) if number in own)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the data set, and the mask."""
        return (*self.source.files, self.mask_file)

    def reach(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the smallest and the largest action, (A,) each, over all frames, kept or not."""
        return self.source.reach()

    def episode(self, number: int, spec: RobotSpec) -> Episode:
        """Read the frames that are kept of one of the episodes that are kept."""
        original, keep = self.kept[number]
        return cut_episode(self.source.episode(original, spec), keep)
