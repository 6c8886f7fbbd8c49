"""A store and a recorded data set behind one face, to look through and to write again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sinew.core.config import to_dict
from sinew.core.errors import ConfigError, DataError, SpecError
from sinew.core.files import new_directory
from sinew.core.spec import check_spec
from sinew.core.types import CameraSpec, RobotSpec
from sinew.data.config import IngestConfig
from sinew.data.episode import Episode
from sinew.data.formats import FORMATS, WRITERS
from sinew.data.formats.hub import spec_place
from sinew.data.formats.ingest import open_source, own_split, robot_of
from sinew.data.formats.robot import PartialSpec, read_partial
from sinew.data.formats.source import Source, Timed, check_writable
from sinew.data.mask import cut_episode, mask_path, read_mask
from sinew.data.store import Store

STORE = "store"
"""What our own directories of episodes are called where a format is asked for."""
FAR = 1e30
"""Bounds of actions where nobody says any and the data cannot be asked."""
SOME_RATE = 10.0
"""Control rate taken where nobody says one [1/s]; only thresholds in seconds depend on it."""


@dataclass(frozen=True)
class Dataset:
    """Episodes that can be read one at a time, whatever they lie in.

    Attributes:
        path: file or directory.
        format: name of the format, or "store".
        spec: the robot; made up where ``problem`` says so.
        lengths: frames by episode.
        instructions: by episode; "" where there is none.
        tasks: names for tables, by episode.
        judged: whether the data say which episodes succeeded.
        files: all that the data set consists of.
        read: returns an episode by its number, not yet checked.
        times: returns the seconds of an episode's frames, (T,), or None where the format has none.
        problem: what is not said of the robot, or contradicts itself; "" where all is well.
        unsaid: fields of ``spec`` that were made up.
        held_out: episodes that the data set itself keeps for validation; empty where it does not divide them.
    """

    path: Path
    format: str
    spec: RobotSpec
    lengths: tuple[int, ...]
    instructions: tuple[str, ...]
    tasks: tuple[str, ...]
    judged: bool
    files: tuple[Path, ...]
    read: Callable[[int], Episode]
    times: Callable[[int], NDArray[np.float64] | None]
    problem: str = ""
    unsaid: frozenset[str] = frozenset()
    held_out: frozenset[int] = frozenset()

    def episode(self, number: int) -> Episode:
        """Read and check one episode.

        Raises:
            DataError: it is damaged or does not fit the spec; names file, episode and frame.
        """
        episode = self.read(number)
        try:
            episode.check()
        except DataError as error:
            raise DataError(f"{self.path}: {error}") from error
        return episode


def open_any(path: Path, config: IngestConfig | None = None, *, images: bool = True) -> Dataset:
    """Open a data set to learn from: through its mask, where there is one beside it.

    Args:
        path: a data set of a known format, or a store.
        config: what the data set does not say, image size, sentence.
        images: False leaves all cameras out, which reads no films.

    Raises:
        DataError: it cannot be read, or its robot is not fully told.
        SpecError: the owner's spec contradicts the data.
    """
    dataset = open_unmasked(path, config, images=images)
    if dataset.problem:
        raise DataError(dataset.problem)
    mask = mask_path(path)
    if not mask.exists():
        return dataset
    kept = tuple(read_mask(mask, dataset.lengths).kept(dataset.lengths).items())

    def read(number: int) -> Episode:
        original, keep = kept[number]
        return cut_episode(dataset.read(original), keep)

    return dataclasses.replace(
        dataset,
        lengths=tuple(last - first for _, (first, last) in kept),
        instructions=tuple(dataset.instructions[number] for number, _ in kept),
        tasks=tuple(dataset.tasks[number] for number, _ in kept),
        files=(*dataset.files, mask),
        read=read,
        times=no_times,
        held_out=frozenset(place for place, (number, _) in enumerate(kept) if number in dataset.held_out),
    )


def no_times(number: int) -> None:
    """Return that the format keeps no time of frames."""


def open_unmasked(path: Path, config: IngestConfig | None = None, *, images: bool = True) -> Dataset:
    """Open a data set as it lies there, even where its robot is not fully told.

    Args:
        path: a data set of a known format, or a store.
        config: what the data set does not say, image size, sentence.
        images: False leaves all cameras out, which reads no films.

    Raises:
        DataError: it cannot be opened.
    """
    config = config or IngestConfig()
    if (path / "store.json").exists():
        return _of_store(path, config, images=images)
    source = open_source(path)
    problem, unsaid = "", frozenset[str]()
    try:
        spec = robot_of(source, config)
    except (DataError, SpecError, ConfigError) as error:
        problem = str(error)
        spec, unsaid = _made_up(source, config)
    if not images:
        spec = dataclasses.replace(spec, cameras={})
    says = config.instruction or ""

    def read(number: int) -> Episode:
        episode = source.episode(number, spec)
        if not episode.instruction and says:
            episode = dataclasses.replace(episode, instruction=says, task=episode.task or says)
        return episode

    return Dataset(
        path=path,
        format=next(name for name, kind in FORMATS.items() if isinstance(source, kind)),
        spec=spec,
        lengths=source.lengths,
        instructions=tuple(text or says for text in source.instructions),
        tasks=tuple(task or says for task in source.tasks),
        judged=source.judged,
        files=source.files,
        read=read,
        times=source.times if isinstance(source, Timed) else no_times,
        problem=problem,
        unsaid=unsaid,
        held_out=own_split(source),
    )


def write_any(
    path: Path,
    episodes: Iterable[Episode],
    *,
    to: str,
    storage: str | None = None,
    on_episode: Callable[[int], None] | None = None,
) -> None:
    """Write episodes as a new data set.

    Args:
        path: file or directory; must not exist.
        episodes: of one robot, read one at a time.
        to: name of a format that can be written, or "store".
        storage: how images are kept, one of the format's; its first by default.
        on_episode: called with the number of episodes written so far.

    Raises:
        ConfigError: there is no such format or storage.
        DataError: there is something already, or an episode cannot be told in that format.
        SpecError: an episode is of another robot than the first.
    """
    storages = check_format(to)
    if storage is not None and storage not in storages:
        raise ConfigError(f"{to} keeps images as {' or '.join(storages) or 'it sees fit'}; {storage} was asked for.")
    if to != STORE:
        WRITERS[to].write(path, episodes, storage=storage or storages[0], on_episode=on_episode)
        return
    check_writable(path)
    with new_directory(path) as place:
        _fill_store(place, episodes, on_episode or (lambda _written: None))


def check_format(to: str) -> tuple[str, ...]:
    """Return how a format that is to be written keeps images.

    Raises:
        ConfigError: it is not known, or can only be read.
    """
    if to != STORE and to not in WRITERS:
        known = "is read only" if to in FORMATS else "no such format"
        raise ConfigError(f"{to}: {known}. Written are: {', '.join([*WRITERS, STORE])}.")
    return () if to == STORE else WRITERS[to].storages


def _fill_store(place: Path, episodes: Iterable[Episode], on_episode: Callable[[int], None]) -> None:
    store: Store | None = None
    written = 0
    for written, episode in enumerate(episodes, 1):
        if store is None:
            store = Store.create(place, episode.spec, target_names=tuple(episode.targets))
        store.append([episode])
        on_episode(written)
    if store is None:
        raise DataError("no episodes to write. Give at least one.")
    store.unlock()


def _of_store(path: Path, config: IngestConfig, *, images: bool) -> Dataset:
    if config.spec is not None or config.image_size is not None:
        raise DataError(f"{path}: is a store, which says all of its robot; leave spec and image size out.")
    store = Store.open(path)
    says = config.instruction or ""

    def read(number: int) -> Episode:
        episode = store.episode(number)
        if not images:
            bare = dataclasses.replace(episode.spec, cameras={})
            episode = dataclasses.replace(episode, spec=bare, images={})
        if not episode.instruction and says:
            episode = dataclasses.replace(episode, instruction=says, task=episode.task or says)
        return episode

    return Dataset(
        path=path,
        format=STORE,
        spec=store.spec if images else dataclasses.replace(store.spec, cameras={}),
        lengths=tuple(record.frames for record in store.records),
        instructions=tuple(record.instruction or says for record in store.records),
        tasks=tuple(record.task or says for record in store.records),
        judged=True,
        files=tuple(sorted(file for file in path.iterdir() if file.is_file())),
        read=read,
        times=no_times,
        held_out=frozenset(number for number, record in enumerate(store.records) if record.held_out),
    )


def _made_up(source: Source, config: IngestConfig) -> tuple[RobotSpec, frozenset[str]]:
    """Return a robot with which a data set can be looked through, and what of it nobody said."""
    said = source.facts.said
    beside = config.spec or spec_place(source.path, type(source).spec_file(source.path))
    with suppress(DataError, ConfigError):  # the problem has been told already
        said = (read_partial(beside) if beside.exists() else PartialSpec()).over(said)
    facts = source.facts
    state = _names(said.state, "state", facts.state_size)
    action = _names(said.action, "action", facts.action_size)
    made_up = RobotSpec(
        embodiment=said.embodiment or "unknown",
        cameras={name: CameraSpec(*(config.image_size or size)) for name, size in facts.cameras.items()},
        state=state,
        state_units=_names(said.state_units, "", len(state)),
        action=action,
        action_units=_names(said.action_units, "", len(action)),
        low=(-FAR,) * len(action),
        high=(FAR,) * len(action),
        hz=said.hz if said.hz is not None and said.hz > 0 else SOME_RATE,
        kind=said.kind or "absolute",
        binary=tuple(name for name in said.binary or () if name in action),
    )
    known = {name for name, value in to_dict(said).items() if value not in (None, {})}
    return made_up, frozenset({"low", "high"} | ({"kind", "hz", "state_units", "action_units"} - known))


def _names(given: tuple[str, ...] | None, word: str, size: int) -> tuple[str, ...]:
    """Return the names given where there is one for each value, else numbered ones."""
    if given is not None and len(given) == size:
        return given
    return tuple(f"{word} {number}" if word else "?" for number in range(size))


def check_same_robot(first: Dataset, other: Dataset) -> None:
    """Refuse two data sets of different robots.

    Raises:
        SpecError: they differ; every difference is shown with both sides.
    """
    for one, two in ((first, other), (other, first)):  # what either side does not know, the other must not say
        check_spec(
            one.spec,
            two.spec,
            sides=(str(one.path), str(two.path)),
            advice="Give both the same spec.json where they mean the same, or keep them apart and mix them.",
        )
