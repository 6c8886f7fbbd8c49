"""A run's recordings: read in the first time, looked through, and known by their content."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sinew.core.config import digest, load, to_dict
from sinew.core.errors import ConfigError, DataError
from sinew.core.spec import check_spec
from sinew.core.types import RobotSpec
from sinew.data.config import DataConfig, IngestConfig, SourceConfig
from sinew.data.formats.hub import located
from sinew.data.formats.ingest import held_out, kept_qualities, open_dataset, open_source, robot_of
from sinew.data.formats.source import Progress
from sinew.data.labels import labels_path
from sinew.data.reading import Reading
from sinew.data.store import Store
from sinew.data.streamed import Streamed, open_streamed
from sinew.deploy.load import checkpoint_of
from sinew.models.transfer import check_body
from sinew.run.screen import counting, say

if TYPE_CHECKING:
    from sinew.run import RunConfig

LARGEST_IMAGE = 128
"""Longer side that images are scaled to where nobody says a size [px]; what a laptop trains on in minutes."""


@dataclass(frozen=True)
class Recorded:
    """One data set of a run, read in.

    Attributes:
        name: for tables, unique in the run.
        path: where it was named. store: its episodes.
        weight: factor on how often it is drawn.
        quality: 0 .. 1, of each episode of the store; None where it is not asked for, or not known.
        streamed: a data set that is read in by parts; the store then holds what is measured on.
    """

    name: str
    path: Path
    store: Store
    weight: float = 1.0
    quality: tuple[float, ...] | None = None
    streamed: Streamed | None = None

    @property
    def numbers(self) -> Store:
        """State and actions of all episodes; images too where these lie here."""
        return self.store if self.streamed is None else self.streamed.numbers


def data_of(config: RunConfig) -> DataConfig:
    """Return where the recordings of a run are.

    Raises:
        ConfigError: nobody said, or said it twice.
    """
    data = config.data
    if data is None or not data.sources:
        raise ConfigError(
            f"Name your recordings: sinew train {config.name} --data PATH. What can be read: docs/formats.md"
        )
    if data.mix is not None and data.path:
        raise ConfigError(f"data.path is {data.path!r} beside data.mix of {data.said}; name each data set once.")
    return data


def read_in(config: RunConfig, root: Path) -> tuple[RunConfig, tuple[Recorded, ...]]:
    """Read a run's recordings in, the first time, and return them and the configuration that knows their content.

    Raises:
        DataError: they are damaged, have no instruction, or are too few to hold one out.
        SpecError: what is said of the robot contradicts them, or they are of several robots.
    """
    data = data_of(config)
    ways = [source.ingest or data.ingest for source in data.sources]
    if config.init is not None and not config.init.other_robot and not data.several_bodies:
        _check_init(config.init.path, [Path(source.path) for source in data.sources], ways)
    size = _image_size([Path(source.path) for source in data.sources], ways)
    recorded: list[Recorded] = []
    prints: list[str] = []
    for source, way, name in zip(data.sources, ways, _names(data.sources), strict=True):
        path = Path(source.path)
        sized = dataclasses.replace(way, image_size=way.image_size or size)
        with counting("episodes") as count:
            store, streamed = _open(data, path, root / "data", sized, count)
        _read_log(store, path, way)
        _check_spec(store)
        quality = None if data.quality is None else kept_qualities(path)
        recorded.append(Recorded(name, path, store, source.weight, quality, streamed))
        prints.append(_fingerprint(recorded[-1]))
    _check_quality(data, recorded)
    _check_robots(recorded, several=data.several_bodies)
    if data.mix is None:
        known = dataclasses.replace(data, fingerprint=prints[0])
    else:
        sources = [dataclasses.replace(one, fingerprint=now) for one, now in zip(data.sources, prints, strict=True)]
        known = dataclasses.replace(data, mix=dataclasses.replace(data.mix, sources=tuple(sources)))
    return dataclasses.replace(config, data=known), tuple(recorded)


def _open(
    data: DataConfig, path: Path, into: Path, config: IngestConfig, on_progress: Progress
) -> tuple[Store, Streamed | None]:
    """Read a data set in, whole or as far as a stream needs it.

    Raises:
        ConfigError: a stream is asked for beside what it cannot do.
    """
    if config.stream is None:
        return open_dataset(path, into=into, config=config, on_progress=on_progress), None
    wrong = {"several data sets": data.mix is not None, "--data.quality": data.quality is not None}
    wrong |= {f"--data.labels {data.labels}": data.labels == "image"}
    if any(wrong.values()):
        raise ConfigError(
            f"--data.ingest.stream {config.stream:g}: reads one data set by parts, which does not go together with "
            f"{' and '.join(name for name, found in wrong.items() if found)}. Leave one out."
        )
    streamed = open_streamed(path, into=into, config=config, on_progress=on_progress)
    return streamed.sample, streamed


def _check_init(start: str, paths: Sequence[Path], ways: Sequence[IngestConfig]) -> None:
    """Refuse weights of another robot before anything is read in.

    Raises:
        SpecError: state or action differ in names, units or meaning; all differences are shown.
        CheckpointError: there is no policy.
    """
    theirs = load(RobotSpec, checkpoint_of(Path(start)) / "spec.json")
    for path, way in zip(paths, ways, strict=True):
        stored = (path / "store.json").exists()
        check_body(theirs, Store.open(path).spec if stored else robot_of(open_source(path), way), start)


def _names(sources: Sequence[SourceConfig]) -> list[str]:
    """Return a name for each source, the file's where none is given, numbered where it is taken."""
    names: list[str] = []
    for source in sources:
        name = source.name or Path(source.path).resolve().stem
        names.append(name if name not in names else f"{name}#{len(names) + 1}")
    return names


def _fingerprint(one: Recorded) -> str:
    records = [[record.crc, record.held_out, record.instruction] for record in one.numbers.records]
    labels = labels_path(one.path)
    clicks = labels.read_text(encoding="utf-8") if labels.exists() else ""
    further = () if one.quality is None else (one.quality,)
    if one.streamed is not None:
        further = (one.numbers.path.name,)  # which knows the files of the images
    return digest(to_dict(one.store.spec), records, clicks, *further)


def _check_quality(data: DataConfig, recorded: Sequence[Recorded]) -> None:
    """Refuse to go by a quality that nobody measured.

    Raises:
        ConfigError: the power is negative, or there is no mask.
    """
    if data.quality is None:
        return
    if not data.quality >= 0:
        raise ConfigError(f"--data.quality {data.quality:g}: 0 (all alike) or more is wanted; 1 weighs by quality.")
    if all(one.quality is None for one in recorded):
        raise ConfigError(
            f"--data.quality {data.quality:g}: no mask beside {data.said} says how good its episodes are. "
            f"Write one first: sinew data filter {recorded[0].path}"
        )


def _check_robots(recorded: Sequence[Recorded], *, several: bool) -> None:
    """Refuse data sets of several robots unless they are asked for, and of two robots under one name.

    Raises:
        SpecError: with every difference.
    """
    firsts: dict[str, Recorded] = {}
    for one in recorded:
        first = firsts.setdefault(one.store.spec.embodiment if several else "", one)
        advice = (
            f"Both name the body {one.store.spec.embodiment}. Make them one, or name another embodiment in spec.json."
            if several
            else "A policy is of one robot: its statistics, cameras and bounds (write these into both spec.json if the "
            "data set them). One that learns several: --data.mix.bodies several, see docs/mixing.md"
        )
        check_spec(first.store.spec, one.store.spec, sides=(str(first.path), str(one.path)), advice=advice)


def refusals(spec: RobotSpec, instructions: Sequence[str]) -> Iterator[str]:
    """Yield why a data set of such a robot, with these sentences, could not be learned from by imitation."""
    if len(instructions) < 2:
        yield f"it has {len(instructions)} episodes; at least 2 are needed, one to learn from and one to measure on"
    if not spec.cameras:
        yield "it has no images, and the policies here see"
    silent = sum(not sentence.strip() for sentence in instructions)
    if silent:
        yield (
            f"the instruction is empty in {silent} of {len(instructions)} episodes; give one sentence for all of them: "
            '--instruction "pick up the part"'
        )
    yield from (f"every state and action value needs a name and a unit; found {text}" for text in _nameless(spec))


def _nameless(spec: RobotSpec) -> list[str]:
    """Return what lacks names or units."""
    columns = {"state": (spec.state, spec.state_units), "action": (spec.action, spec.action_units)}
    return [
        f"{what}: names {list(names)}, units {list(units)}"
        for what, (names, units) in columns.items()
        if len(names) != len(units) or not all(name.strip() for name in (*names, *units))
    ] + ([] if spec.action else ["no action"])


def _read_log(store: Store, path: Path, config: IngestConfig) -> None:
    """Hold episodes out and give silent ones a sentence, where the store does not do so itself."""
    records = store.records
    if len(records) < 2:
        raise DataError(
            f"{path}: holds {len(records)} episodes; at least 2 are needed: one to learn from, one to measure on."
        )
    chosen = None
    kept = sum(record.held_out for record in records)
    if kept in (0, len(records)):
        chosen = held_out([record.task for record in records], config.held_out)
    if chosen is not None and not chosen:
        raise ConfigError(
            f"--data.ingest.held-out {config.held_out:g}: leaves no episode to measure on. Ask for more than 0."
        )
    store.read_as(Reading(chosen, config.instruction or ""))
    silent = sum(not record.instruction.strip() for record in store.records)
    if silent:
        raise DataError(
            f"{path}: the instruction is empty in {silent} of {len(records)} episodes. Write what each shows, "
            'or give one sentence for all of them: --instruction "pick up the part".'
        )


def _check_spec(store: Store) -> None:
    """Refuse a robot whose numbers have no names or no units.

    Raises:
        DataError: with what is missing.
    """
    spec = store.spec
    wrong = _nameless(spec)
    if wrong:
        raise DataError(
            f"{store.path / 'spec.json'}: every state and action value needs a name and a unit; found "
            f"{'; '.join(wrong)}. Correct the file."
        )


def _image_size(paths: Sequence[Path], ways: Sequence[IngestConfig]) -> tuple[int, int] | None:
    """Return the size to scale images to, or None where they are small and alike; says what it does.

    Stores have the size that they were collected with, which all others then take.
    """
    known = [path for path in map(located, paths) if path.exists()]
    stores = [Store.open(path) for path in known if (path / "store.json").exists()]
    fixed = {(camera.height, camera.width) for store in stores for camera in store.spec.cameras.values()}
    fixed |= {way.image_size for way in ways if way.image_size is not None}
    foreign = [path for path in known if not (path / "store.json").exists()]
    sizes = [size for path in foreign for size in open_source(path).facts.cameras.values()]
    if len(fixed) == 1 and len(paths) > 1:
        return fixed.pop()
    longest = max((max(size) for size in sizes), default=0)
    if longest <= LARGEST_IMAGE and len(set(sizes)) <= 1:
        return None
    height, width = sizes[0]
    scale = min(1.0, LARGEST_IMAGE / max(height, width))
    size = (8 * max(1, round(height * scale / 8)), 8 * max(1, round(width * scale / 8)))
    seen = ", ".join(f"{height} x {width}" for height, width in sorted(set(sizes)))
    say(f"  images of {seen} are scaled to {size[0]} x {size[1]}; another size: --data.ingest.image-size H W")
    return size
