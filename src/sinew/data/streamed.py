"""A data set that is learned from by parts: what of it lies here for good, and what comes and goes in training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sinew.core.config import digest
from sinew.core.errors import ConfigError, DataError
from sinew.core.types import RobotSpec
from sinew.data.config import IngestConfig
from sinew.data.episode import Episode
from sinew.data.formats.ingest import (
    check_asked,
    check_instructions,
    contents,
    open_source,
    read_into,
    robot_of,
    split_of,
    through_mask,
)
from sinew.data.formats.source import Progress, Readable
from sinew.data.layout import Layout
from sinew.data.store import Store
from sinew.data.stream import Room, Stream
from sinew.data.windows import Windows


class Chosen:
    """Some episodes of a data set; see ``Readable``."""

    def __init__(self, source: Readable, numbers: tuple[int, ...], held_out: frozenset[int]) -> None:
        self.source, self.numbers = source, numbers
        self.path, self.facts = source.path, source.facts
        self.unread, self.judged, self.files = source.unread, source.judged, source.files
        self.lengths = tuple(source.lengths[number] for number in numbers)
        self.instructions = tuple(source.instructions[number] for number in numbers)
        self.tasks = tuple(source.tasks[number] for number in numbers)
        self.held_out = frozenset(place for place, number in enumerate(numbers) if number in held_out)

    def reach(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the smallest and the largest action of the whole, (A,) each."""
        return self.source.reach()

    def episode(self, number: int, spec: RobotSpec) -> Episode:
        """Read one of the episodes."""
        return self.source.episode(self.numbers[number], spec)


@dataclass(frozen=True)
class Streamed:
    """A data set larger than the disk has room for.

    Attributes:
        source: where it lies. spec: its robot. config: how it is read.
        numbers: all episodes without images and sensors, for statistics.
        sample: the held-out episodes, and at most as many of the others, with images: what is measured on.
    """

    source: Readable
    spec: RobotSpec
    config: IngestConfig
    numbers: Store
    sample: Store

    def stream(self, path: Path, cut: Callable[[Store], Windows], *, batch: int, seed: int) -> Stream:
        """Return batches of the training episodes, whose parts lie at ``path`` meanwhile; see ``Stream``."""
        room = Room(path, int(1e9 * (self.config.stream or 0.0)))
        return Stream(self.source, self.spec, self.config, room=room, cut=cut, batch=batch, seed=seed)


def open_streamed(path: Path, *, into: Path, config: IngestConfig, on_progress: Progress) -> Streamed:
    """Return a data set that is to be learned from by parts; its numbers and a sample are read in the first time.

    Args:
        path: data set of a known format; no store, which lies on the disk already.
        into: directory for stores.
        config: what the data set does not say, image size, share held out, room for the parts.
        on_progress: called with episodes read and in all.

    Raises:
        DataError: damaged or incomplete data, or a store.
        SpecError: the owner's spec contradicts the data.
        ConfigError: settings are wrong or do not go together.
    """
    check_asked(config)
    if config.stream is None or not config.stream > 0 or config.films:
        raise ConfigError(
            f"--data.ingest.stream {config.stream}: gigabytes of disk above 0 are wanted, and no data.ingest.films "
            "beside it, which leaves images where they are anyway."
        )
    if (path / "store.json").exists():
        raise DataError(f"{path}: is a store, which lies here already. Leave data.ingest.stream out.")
    whole = open_source(path)
    spec = robot_of(whole, config)
    source = through_mask(whole)
    check_instructions(source, spec, config)
    kept = split_of(source, config.held_out)
    if not kept:
        raise ConfigError(
            f"--data.ingest.held-out {config.held_out:g}: leaves no episode to measure on. Ask for more than 0."
        )
    others = [number for number in range(len(source.lengths)) if number not in kept]
    step = max(1, len(others) // len(kept))
    sample = Chosen(source, tuple(sorted([*kept, *others[::step][: len(kept)]])), kept)
    bare = dataclasses.replace(spec, cameras={}, sensors={})
    key = digest(spec, [config.held_out, config.instruction, contents(source)])
    stores: list[Store] = []
    for name, part, robot in (("numbers", source, bare), ("sample", sample, spec)):
        final = into / f"{path.resolve().stem}-{name}-{key}"
        if not final.exists():
            layout = Layout({}, tuple(sorted(robot.sensors)))
            read_into(part, robot, config, final, layout, on_progress=on_progress)
        stores.append(Store.open(final))
    return Streamed(source, spec, config, *stores)
