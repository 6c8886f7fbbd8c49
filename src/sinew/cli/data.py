"""``sinew data``: look into recorded data sets, and write them in another format."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from sinew.cli import quality
from sinew.cli.label import label
from sinew.cli.recover import recover
from sinew.cli.words import read
from sinew.core.errors import ConfigError, DataError, SinewError
from sinew.data.config import IngestConfig

if TYPE_CHECKING:
    from sinew.core.types import RobotSpec
    from sinew.data.formats.source import Source

HELP = {"-h", "--help"}


@dataclass(frozen=True)
class InfoOptions:
    """Print what a data set holds, and what it does not say of its robot.

    Attributes:
        path: a recorded data set or a store; docs/data.md lists the formats.
        spec: JSON file with what the data do not say; by default the one beside them.
    """

    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]
    spec: Path | None = None


@dataclass(frozen=True)
class ConvertOptions:
    """Write a data set or a store in another format.

    Attributes:
        path: a recorded data set or a store; docs/data.md lists the formats.
        to: lerobot or hdf5.
        out: file or directory to write; must not exist.
        storage: how images are kept: video or image (lerobot), image (hdf5).
        spec: JSON file with what the data do not say; by default the one beside them.
        image_size: height and width [px] that images are scaled to.
        instruction: the sentence for episodes that have none.
    """

    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]
    to: str
    out: Path
    storage: str | None = None
    spec: Path | None = None
    image_size: tuple[int, int] | None = None
    instruction: str | None = None


def data(words: list[str]) -> int:
    """Run one of the commands on data."""
    if not words or words[0] in HELP:
        width = max(map(len, COMMANDS))
        print("\n".join(f"  sinew data {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()))
        return 0
    if words[0] not in COMMANDS:
        raise ConfigError(f"data {words[0]}: no such command. There are: {', '.join(COMMANDS)}.")
    return COMMANDS[words[0]][0](words[1:])


def info(words: list[str]) -> int:
    """Print what a data set holds."""
    from sinew.data.formats.hub import located
    from sinew.data.mask import mask_path

    options = read(InfoOptions, words, "sinew data info")
    lines = list(describe(options.path, options.spec))
    mask = mask_path(located(options.path))
    if mask.exists():
        lines.append(("mask", f"{mask}; training learns only from what it keeps (sinew data filter)"))
    lines += training(options)
    width = max(len(name) for name, _ in lines) + 2
    print("\n".join(f"{name:<{width}}{text}" for name, text in lines))
    return 0


def convert(words: list[str]) -> int:
    """Write a data set in another format."""
    from sinew.data.formats import export
    from sinew.data.text_info import convert_text, is_text

    options = read(ConvertOptions, words, "sinew data convert")
    config = IngestConfig(spec=options.spec, image_size=options.image_size, instruction=options.instruction)

    def report(written: int, total: int) -> None:
        if sys.stdout.isatty():
            print(f"\r{written} of {total}", end="\n" if written == total else "", flush=True)

    path, out, to = options.path, options.out, options.to
    if is_text(path):
        convert_text(path, out, to=to, on_progress=report)
    else:
        export.convert(path, out, to=to, storage=options.storage, config=config, on_progress=report)
    print(f"{options.out}: written. Look at it: sinew data info {options.out}")
    return 0


def describe(path: Path, spec: Path | None) -> Iterator[tuple[str, str]]:
    """Yield what there is to say of a data set or a store, label by label.

    Raises:
        DataError: it cannot be read.
        ConfigError: the given spec.json has unknown fields or wrong values.
    """
    if spec is not None:
        from sinew.data.formats.robot import read_partial

        read_partial(spec)  # a mistake in a file that was named is no missing word of the data
    if (path / "store.json").exists():
        yield from _describe_store(path)
        return
    from sinew.data.formats import FORMATS
    from sinew.data.formats.ingest import open_source, robot_of
    from sinew.data.text_info import describe_text, is_text

    if is_text(path):
        yield from describe_text(path)
        return
    source = open_source(path)
    yield "format", next(name for name, kind in FORMATS.items() if isinstance(source, kind))
    yield from _describe_lengths(source.lengths)
    yield from _describe_sentences(source.instructions)
    yield "success", "recorded" if source.judged else "not recorded; all episodes count as successes"
    for name, (height, width) in source.facts.cameras.items():
        yield f"camera {name}", f"{height} x {width} px"
    if source.unread:
        yield "not read", ", ".join(source.unread)
    try:
        robot = robot_of(source, IngestConfig(spec=spec))
    except DataError as error:
        yield "robot", f"not complete\n{error}"
        return
    yield from _describe_robot(robot, source)


def training(options: InfoOptions) -> Iterator[tuple[str, str]]:
    """Yield whether ``sinew train`` would take a data set, and why it would not; nothing of images with text."""
    from sinew.data.dataset import open_any
    from sinew.data.formats.hub import located
    from sinew.data.text_info import is_text
    from sinew.run.recordings import refusals

    if is_text(options.path):
        return
    spec = [] if options.spec is None else ["--spec", str(options.spec)]
    command = shlex.join(["sinew", "train", "bc", "--data", str(options.path), *spec])
    try:
        dataset = open_any(located(options.path), IngestConfig(spec=options.spec))
    except SinewError:  # which has been told
        yield "training", "refused until the robot is told completely"
        return
    found = list(refusals(dataset.spec, dataset.instructions))
    for text in found:
        yield "training", f"refused: {text}"
    if not found:
        yield "training", f"takes it: {command}"


def _describe_store(path: Path) -> Iterator[tuple[str, str]]:
    from sinew.data.store import Store

    store = Store.open(path)
    yield "format", "store of sinew"
    yield from _describe_lengths([record.frames for record in store.records])
    yield from _describe_sentences([record.instruction for record in store.records])
    yield "success", f"{sum(record.success for record in store.records)} of {store.num_episodes}"
    yield "held out", f"{sum(record.held_out for record in store.records)} of {store.num_episodes}"
    yield "labels", ", ".join(store.target_sizes) or "none"
    for name, camera in store.spec.cameras.items():
        yield f"camera {name}", f"{camera.height} x {camera.width} px"
    yield from _describe_robot(store.spec)


def _describe_lengths(lengths: tuple[int, ...] | list[int]) -> Iterator[tuple[str, str]]:
    span = f", {min(lengths)} to {max(lengths)} each" if lengths else ""
    yield "episodes", str(len(lengths))
    yield "frames", f"{sum(lengths)}{span}"


def _describe_sentences(sentences: tuple[str, ...] | list[str]) -> Iterator[tuple[str, str]]:
    counts = Counter(sentences)
    for sentence, count in counts.most_common(3):
        yield "instruction", f"{sentence or '(none)'}   in {count} episodes"
    if len(counts) > 3:
        yield "", f"and {len(counts) - 3} more"


def _describe_robot(spec: RobotSpec, source: Source | None = None) -> Iterator[tuple[str, str]]:
    yield "robot", f"{spec.embodiment}, {spec.hz:g} Hz, {spec.kind} actions"
    smallest, largest = source.reach() if source is not None else (spec.low, spec.high)
    for number, (name, unit) in enumerate(zip(spec.action, spec.action_units, strict=True)):
        seen = f", recorded {smallest[number]:g} .. {largest[number]:g}" if source is not None else ""
        yield f"action {name}", f"[{unit}] {spec.low[number]:g} .. {spec.high[number]:g}{seen}"
    if spec.state:
        yield "state", ", ".join(f"{name} [{unit}]" for name, unit in zip(spec.state, spec.state_units, strict=True))


COMMANDS: dict[str, tuple[Callable[[list[str]], int], str]] = {
    "info": (info, "what a data set holds, and what it does not say"),
    "convert": (convert, "write a data set or a store in another format"),
    "validate": (quality.validate, "find what is wrong with it, episode by episode"),
    "filter": (quality.filter_, "leave bad episodes out, cut idle ends off: a mask, or a copy"),
    "merge": (quality.merge, "write several of one robot as one"),
    "split": (quality.split, "write one as two, by share, task or episodes"),
    "stats": (quality.stats, "mean, deviation, range and quantiles of every value"),
    "view": (quality.view, "a page that shows a few episodes"),
    "label": (label, "click the named things in a few frames, for training"),
    "recover": (recover, "save what a recording that was broken off left behind"),
}
"""What each command on data calls, and its line in ``sinew data --help``."""
