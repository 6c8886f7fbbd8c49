"""Recorded data sets into our store, once: detected by looking, kept under a key of their content, resumable."""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sinew.core.config import digest, to_dict
from sinew.core.errors import ConfigError, DataError
from sinew.core.files import new_directory, require_free, write_json
from sinew.core.types import RobotSpec
from sinew.data.collect import shares
from sinew.data.columns import columns_of
from sinew.data.config import IngestConfig
from sinew.data.episode import Episode
from sinew.data.films import FilmFile
from sinew.data.formats import FORMATS, TEXT_FORMATS
from sinew.data.formats.hub import located, spec_place
from sinew.data.formats.lerobot import LeRobot
from sinew.data.formats.robot import PartialSpec, read_partial, resolve
from sinew.data.formats.source import DividedSource, Progress, Readable, Source, first_of
from sinew.data.layout import Layout
from sinew.data.mask import Masked, cut_episode, mask_path, read_mask
from sinew.data.record import number_of
from sinew.data.store import Store

VERSION = 1
"""Changes when the same data set would be read into another store."""
RAW_GB = 50.0
"""Most that images may take as they are, where nothing is said."""
ORIGIN = "ingest.json"
"""File in a store that says where its episodes came from."""


def open_source(path: Path) -> Source:
    """Open a recorded data set, its format found by looking at it.

    Args:
        path: file or directory, or the data set's name on the hub.

    Raises:
        DataError: nothing there, of no known format, or damaged.
    """
    path = located(path)
    if not path.exists():
        raise DataError(f"{path}: no such data set.")
    for kind in FORMATS.values():
        if kind.detect(path):
            return kind(path)
    if any(kind.detect(path) for kind in TEXT_FORMATS.values()):
        raise DataError(
            f"{path}: holds images with text, no recordings of a robot. 'sinew data info' and 'convert' take "
            "it; docs/formats.md shows how to train on it."
        )
    raise DataError(
        f"{path}: no data set of a format known here ({', '.join(FORMATS)}). "
        f"Give the HDF5 file itself, or the directory that holds meta/info.json.{_inside(path)}"
    )


def _inside(path: Path) -> str:
    """Return what a directory holds, for messages; "" of a file."""
    names = sorted(item.name for item in path.iterdir()) if path.is_dir() else []
    return f" It holds {first_of(names)}." if names else ""


def robot_of(source: Source, config: IngestConfig | None = None) -> RobotSpec:
    """Return the robot of a data set: what the data say, completed by the spec.json of their owner.

    Raises:
        DataError: something is said nowhere; the message shows what to write.
        SpecError: the owner contradicts the data.
        ConfigError: the spec.json holds unknown fields or wrong values.
    """
    config = config or IngestConfig()
    beside = spec_place(source.path, type(source).spec_file(source.path))
    given = read_partial(beside) if beside.exists() else PartialSpec()
    if config.spec is not None:
        given = read_partial(config.spec).over(given)
    return resolve(
        str(source.path),
        source.facts,
        given,
        place=config.spec or beside,
        reach=source.reach,
        image_size=config.image_size,
    )


def open_dataset(
    path: Path,
    *,
    into: Path,
    config: IngestConfig | None = None,
    on_progress: Progress | None = None,
) -> Store:
    """Return a store with the episodes of a recorded data set, reading them in only the first time.

    The store's name carries a key of the files (names, sizes, times of change), the robot and the settings;
    it gets that name when it is whole. A killed call leaves a ``.partial`` one with which the next goes on.
    Which episodes are held out follows from their tasks and number, so all seeds of a training share it.
    A path that is a store already is opened as it is, or copied where there is a mask beside it. What a mask leaves
    out (``sinew data filter``) is not read in.

    Args:
        path: data set of a known format, or a store.
        into: directory for stores.
        config: what the data set does not say, image size, share held out.
        on_progress: called with episodes read and in all, at the start and after each; not when there is nothing to do.

    Raises:
        DataError: damaged or incomplete data, named by file, episode and frame; or another process ingests them.
        SpecError: the owner's spec contradicts the data.
        ConfigError: settings are wrong.
        SinewError: the disk is full; what was read stays and the next call goes on.
    """
    config = config or IngestConfig()
    if (path / "store.json").exists():
        return _open_masked(path, into) if mask_path(path).exists() else Store.open(path)
    check_asked(config)
    whole = open_source(path)
    spec = robot_of(whole, config)
    source = through_mask(whole)
    check_instructions(source, spec, config)
    layout = _layout(source, spec, config)
    kept = ["films"] if layout.films else ["jpeg"] if layout.jpeg else []
    how = [VERSION, config.held_out, config.instruction, contents(source), *kept]
    key = digest(spec, how)
    final = into / f"{path.resolve().stem}-{key}"
    if not final.exists():
        read_into(source, spec, config, final, layout, on_progress=on_progress or (lambda _done, _wanted: None))
    return Store.open(final)


def through_mask(source: Source) -> Readable:
    """Return a data set as the mask beside it shows it, or as it is where there is none.

    Raises:
        DataError: the mask is of another data set, or leaves nothing.
    """
    mask = mask_path(source.path)
    return Masked(source, mask) if mask.exists() else source


def kept_qualities(path: Path) -> tuple[float, ...] | None:
    """Return the quality, 0 .. 1, of every episode that the mask beside a data set keeps; None where there is no mask.

    Raises:
        DataError: the mask is of another data set, or leaves nothing.
    """
    file = mask_path(located(path))
    if not file.exists():
        return None
    if (path / "store.json").exists():
        lengths = tuple(record.frames for record in Store.open(path).records)
    else:
        lengths = open_source(path).lengths
    mask = read_mask(file, lengths)
    every = mask.qualities()
    return tuple(every[number] for number in mask.kept(lengths))


def _open_masked(path: Path, into: Path) -> Store:
    """Return a copy of what the mask beside a store keeps, with labels, what is held out and all else."""
    whole = Store.open(path)
    mask = read_mask(mask_path(path), tuple(record.frames for record in whole.records))
    records = [[record.crc, record.held_out, record.instruction] for record in whole.records]
    final = into / f"{path.resolve().stem}-{digest(whole.spec, mask, records)}"
    if not final.exists():
        with new_directory(final) as place:
            store = Store.create(place, whole.spec, tuple(whole.target_sizes), jpeg=whole.layout.jpeg)
            for number, keep in mask.kept(record.frames for record in whole.records).items():
                store.append([cut_episode(whole.episode(number), keep)])
            store.unlock()
    return Store.open(final)


def split_of(source: Readable, share: float) -> frozenset[int]:
    """Return which episodes are kept for validation: those that the data set itself holds out, or a share of each task.

    Args:
        source: the data set.
        share: for one that does not say.
    """
    return own_split(source) or held_out(source.tasks, share)


def own_split(source: Readable) -> frozenset[int]:
    """Return which episodes a data set itself holds out; none where it holds out none or all of them."""
    own = source.held_out if isinstance(source, DividedSource) else frozenset[int]()
    return own if 0 < len(own) < len(source.lengths) else frozenset()


def held_out(tasks: Sequence[str], share: float) -> frozenset[int]:
    """Return which episodes are kept for validation: a share of each task, the same ones every time.

    The share is met over all episodes; of tasks with few episodes some give one and others none. No task
    of two or more gives all of its own.

    Args:
        tasks: of each episode.
        share: 0 .. 1, rounded up to whole episodes; one episode at least stays for training.
    """
    total = min(int(np.ceil(share * len(tasks))), len(tasks) - 1)
    counts = Counter(tasks)
    rng = np.random.default_rng(number_of("held out", len(tasks)))
    names = [list(counts)[number] for number in rng.permutation(len(counts))]
    chosen: list[int] = []
    for name, quota in shares(names, {name: float(counts[name]) for name in names}, total).items():
        members = [number for number, task in enumerate(tasks) if task == name]
        chosen += rng.permutation(members)[: min(quota, max(counts[name] - 1, 1))].tolist()
    return frozenset(chosen)


def packs_jpeg(spec: RobotSpec, num_frames: int, config: IngestConfig) -> bool:
    """Return whether so many frames' images are kept as JPEG, because they would not fit the budget as they are."""
    raw = num_frames * sum(3 * camera.height * camera.width for camera in spec.cameras.values())
    return raw > 1e9 * (RAW_GB if config.raw_gb is None else config.raw_gb)


def _layout(source: Readable, spec: RobotSpec, config: IngestConfig) -> Layout:
    """Return how the store will keep the images."""
    films: dict[str, tuple[FilmFile, ...]] = {}
    if config.films:
        if isinstance(source, Masked):
            raise DataError(
                f"{source.mask_file}: films are read as they are, not through a mask. Write a cleaned copy "
                "(sinew data filter --out), or leave data.ingest.films out."
            )
        if not isinstance(source, LeRobot):
            raise DataError(f"{source.path}: holds no films to read from. Leave data.ingest.films out.")
        films = source.films(spec)
    jpeg = not films and packs_jpeg(spec, sum(source.lengths), config)
    return Layout({}, tuple(sorted(spec.sensors)), jpeg=jpeg, films=films)


def read_into(
    source: Readable, spec: RobotSpec, config: IngestConfig, final: Path, layout: Layout, *, on_progress: Progress
) -> None:
    """Read a data set into a store that gets its name when it is whole; a killed call goes on with the next one.

    Raises:
        DataError: damaged data, named by file, episode and frame; or another process does the same.
        SinewError: the disk is full; what was read stays.
    """
    partial = final.with_name(f"{final.name}.partial")
    frames = sum(source.lengths)
    per_frame = sum(column.frame_bytes for column in columns_of(spec, layout).values())
    targets = tuple(read_episode(source, 0, spec, linked=bool(layout.films)).targets)
    store = Store.open_or_create(partial, spec, targets, jpeg=layout.jpeg, films=layout.films)
    store.lock()
    try:
        if final.exists():  # another process was faster
            shutil.rmtree(partial)
            return
        require_free(partial, (frames - store.num_frames) * per_frame, f"reading {source.path} in")
        kept = split_of(source, config.held_out)
        for number in range(store.num_episodes, len(source.lengths)):
            on_progress(number, len(source.lengths))
            episode = read_episode(source, number, spec, instruction=config.instruction, linked=bool(layout.films))
            store.append([dataclasses.replace(episode, held_out=number in kept)])
        write_json(partial / ORIGIN, {"source": str(source.path), "config": to_dict(config)})
        partial.rename(final)
        (final / "writer.lock").unlink(missing_ok=True)  # it moved along, and nobody writes here any more
    finally:
        store.unlock()
    on_progress(len(source.lengths), len(source.lengths))


def read_episode(
    source: Readable, number: int, spec: RobotSpec, *, instruction: str | None = None, linked: bool = False
) -> Episode:
    """Read and check one episode.

    Args:
        source: the data set.
        number: of the episode, from 0.
        spec: the robot.
        instruction: the sentence where the episode has none.
        linked: leave images in the films of the data set, where it has films.

    Raises:
        DataError: it is damaged or does not fit the spec; names file, episode and frame.
    """
    read = source.linked if linked and isinstance(source, LeRobot) else source.episode
    episode = read(number, spec)
    if not episode.instruction and instruction is not None:
        episode = dataclasses.replace(episode, instruction=instruction, task=episode.task or instruction)
    try:
        episode.check()
    except DataError as error:
        raise DataError(f"{source.path}: {error}") from error
    return episode


def contents(source: Readable) -> list[list[object]]:
    """List the files by name inside the data set, size and time of change."""
    root = source.path.parent
    stats = [(file.relative_to(root).as_posix(), file.stat()) for file in source.files]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in sorted(stats, key=lambda item: item[0])]


def check_asked(config: IngestConfig) -> None:
    """Refuse settings that mean nothing.

    Raises:
        ConfigError: with what is wanted.
    """
    if not 0 <= config.held_out < 1:
        raise ConfigError(f"held_out is {config.held_out:g}; a share from 0 to below 1 is wanted.")
    if config.raw_gb is not None and config.raw_gb < 0:
        raise ConfigError(f"raw_gb is {config.raw_gb:g}; 0 or more is wanted, and 0 packs all images as JPEG.")
    if config.image_size is not None and min(config.image_size) < 8:
        raise ConfigError(f"image_size is {config.image_size}; height and width of at least 8 px are wanted.")
    if config.instruction is not None and not config.instruction.strip():
        raise ConfigError("instruction is empty; write the sentence that the episodes show, or leave it out.")


def check_instructions(source: Readable, spec: RobotSpec, config: IngestConfig) -> None:
    """Refuse episodes that say nothing to a robot that sees.

    Raises:
        DataError: some have no sentence, and none was given for all of them.
    """
    if not spec.cameras:  # who sees nothing is told nothing: reinforcement learning from states
        return
    silent = [f"episode {number}" for number, text in enumerate(source.instructions) if not text.strip()]
    if silent and config.instruction is None:
        raise DataError(
            f"{source.path}: the instruction is empty in {len(silent)} of {len(source.instructions)} episodes "
            f"({first_of(silent)}). Write what each shows, or give one sentence for all of them: "
            '--instruction "pick up the part".'
        )
