"""``sinew data validate | filter | merge | split | stats | view``: what data are worth, and better ones from them."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import tyro

from sinew.cli.words import read
from sinew.core.errors import ConfigError
from sinew.core.files import write_json
from sinew.data.config import IngestConfig

if TYPE_CHECKING:
    from sinew.data.dataset import Dataset
    from sinew.data.quality.validate import Report
    from sinew.data.value_stats import ValueStats

_Options: TypeAlias = "ValidateOptions | FilterOptions | MergeOptions | SplitOptions | StatsOptions | ViewOptions"
SHOWN = 4
"""Places that are printed of each kind of finding."""
Path_ = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]


@dataclass(frozen=True)
class ValidateOptions:
    """Look for what is wrong with a data set; ends with status 1 where there is an error.

    Attributes:
        path: a data set of a known format, or a store.
        json: print JSON.
        patience: seconds that opening it, or reading one episode, may take.
        spec: JSON file with what the data do not say; by default the one beside them.
        instruction: the sentence for episodes that have none.
    """

    path: Path_
    json: bool = False
    patience: float = 120.0
    spec: Path | None = None
    instruction: str | None = None


@dataclass(frozen=True)
class FilterOptions:
    """Leave bad episodes out and cut idle ends off: by a mask beside the data, or in a copy. The data stay as they are.

    Attributes:
        path: a data set of a known format, or a store.
        out: file or directory for a cleaned copy; without it a mask is written, which training reads.
        to: format of the copy; by default that of the data.
        drop: kinds of findings whose episodes are left out, beside all with errors.
        quality: episodes below this are left out, 0 .. 1.
        trim: cut idle heads and tails off.
        margin_s: seconds of standing still that are kept at each end.
        dry_run: only say what would be left out.
        patience: seconds that opening it, or reading one episode, may take.
        spec: JSON file with what the data do not say; by default the one beside them.
        instruction: the sentence for episodes that have none.
    """

    path: Path_
    out: Path | None = None
    to: str | None = None
    drop: tuple[str, ...] = ("duplicate",)
    quality: float = 0.0
    trim: bool = True
    margin_s: float = 0.3
    dry_run: bool = False
    patience: float = 120.0
    spec: Path | None = None
    instruction: str | None = None


@dataclass(frozen=True)
class MergeOptions:
    """Write several data sets of one robot as one.

    Attributes:
        paths: data sets of known formats, and stores.
        out: file or directory to write; must not exist.
        to: format to write; by default that of the first.
        storage: how images are kept, one of the format's.
        spec: JSON file with what the data do not say; by default the one beside them.
        instruction: the sentence for episodes that have none.
    """

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]
    out: Path
    to: str | None = None
    storage: str | None = None
    spec: Path | None = None
    instruction: str | None = None


@dataclass(frozen=True)
class SplitOptions:
    """Write a data set as two: what stays, and what is split off by share, task or number, or by its own split.

    Attributes:
        path: a data set of a known format, or a store.
        out: the two files or directories to write, that which stays first; must not exist.
        share: split off this share of each task, the same episodes every time, whatever split the data have.
        tasks: split off these tasks.
        episodes: split off these episodes, such as 0-9,12.
        to: format to write; by default that of the data.
        storage: how images are kept, one of the format's.
        spec: JSON file with what the data do not say; by default the one beside them.
        instruction: the sentence for episodes that have none.
    """

    path: Path_
    out: tuple[Path, Path]
    share: float | None = None
    tasks: tuple[str, ...] = ()
    episodes: str | None = None
    to: str | None = None
    storage: str | None = None
    spec: Path | None = None
    instruction: str | None = None


@dataclass(frozen=True)
class StatsOptions:
    """Print mean, deviation, range and quantiles of every value, exact and over all frames.

    Attributes:
        path: a data set of a known format, or a store.
        json: file to save them in.
        images: also of the colour channels.
        spec: JSON file with what the data do not say; by default the one beside them.
        instruction: the sentence for episodes that have none.
    """

    path: Path_
    json: Path | None = None
    images: bool = False
    spec: Path | None = None
    instruction: str | None = None


@dataclass(frozen=True)
class ViewOptions:
    """Write a page that shows a few episodes: images, state, actions, and what is wrong with them.

    Attributes:
        path: a data set of a known format, or a store.
        out: the HTML file; by default named after the data, in the working directory.
        count: episodes from all over the data set.
        episodes: these episodes instead, such as 0-9,12.
        image_size: height and width [px] that images are scaled to.
        spec: JSON file with what the data do not say; by default the one beside them.
        instruction: the sentence for episodes that have none.
    """

    path: Path_
    out: Path | None = None
    count: int = 6
    episodes: str | None = None
    image_size: tuple[int, int] | None = None
    spec: Path | None = None
    instruction: str | None = None


def validate(words: list[str]) -> int:
    """Print what is wrong with a data set."""
    options = read(ValidateOptions, words, "sinew data validate")
    report = _validated(options.path, _said(options), options.patience)
    if options.json:
        print(json.dumps(report.to_json(), indent=2))
    else:
        print("\n".join(describe(report)))
    return 0 if report.sound else 1


def filter_(words: list[str]) -> int:
    """Write a mask, or a cleaned copy."""
    from sinew.data.dataset import open_unmasked, write_any
    from sinew.data.formats.hub import located
    from sinew.data.formats.source import check_writable
    from sinew.data.mask import mask_path, write_mask
    from sinew.data.quality.filter import FilterConfig, choose, cleaned

    options = read(FilterOptions, words, "sinew data filter")
    path = located(options.path)
    if options.out is not None:
        check_writable(options.out)
    config = FilterConfig(options.drop, options.quality, options.trim, options.margin_s)
    config.check()
    report = _validated(path, _said(options), options.patience)
    dataset = open_unmasked(path, _said(options)) if report.lengths else None
    mask = choose(report, config, hz=dataset.spec.hz if dataset is not None else 1.0)
    kept = mask.kept(report.lengths)
    for number, part in mask.episodes.items():
        what = "left out" if part.keep is None else f"kept from frame {part.keep[0]} to {part.keep[1] - 1}"
        print(f"episode {number:<6} {what:<32} quality {part.quality:.2f}   {', '.join(part.why)}")
    frames = sum(last - first for first, last in kept.values())
    print(f"{len(kept)} of {len(report.lengths)} episodes, {frames} of {sum(report.lengths)} frames are kept.")
    if options.dry_run or dataset is None:
        return 0
    if options.out is None:
        write_mask(mask_path(path), mask)
        print(f"{mask_path(path)}: written; training reads the data through it. Remove it to learn from all.")
        return 0
    to = options.to or _default_format(dataset)
    write_any(options.out, cleaned(dataset, mask), to=to, on_episode=_counter(len(kept)))
    print(f"{options.out}: written.")
    return 0


def merge(words: list[str]) -> int:
    """Write several data sets as one."""
    from sinew.data.dataset import write_any
    from sinew.data.rearrange import merged

    options = read(MergeOptions, words, "sinew data merge")
    if len(options.paths) < 2:
        raise ConfigError("merge: name two data sets or more: sinew data merge ONE TWO --out BOTH")
    datasets = [_opened(path, _said(options)) for path in options.paths]
    total = sum(len(dataset.lengths) for dataset in datasets)
    to = options.to or _default_format(datasets[0])
    write_any(options.out, merged(datasets), to=to, storage=options.storage, on_episode=_counter(total))
    print(f"{options.out}: {total} episodes of {len(datasets)} data sets written.")
    unjudged = [str(dataset.path) for dataset in datasets if not dataset.judged]
    if unjudged and len(unjudged) < len(datasets):
        print(f"note: {', '.join(unjudged)} does not say which episodes succeeded; all of its own count as successes.")
    return 0


def split(words: list[str]) -> int:
    """Write a data set as two."""
    from sinew.data import rearrange
    from sinew.data.dataset import write_any
    from sinew.data.formats.source import check_writable

    options = read(SplitOptions, words, "sinew data split")
    ways = [options.share is not None, bool(options.tasks), options.episodes is not None]
    if sum(ways) > 1 or options.out[0].resolve() == options.out[1].resolve():
        raise ConfigError("split: give one of --share, --tasks and --episodes, and two places: --out ONE TWO")
    dataset = _opened(options.path, _said(options))
    chosen = _chosen(dataset, options)
    halves = rearrange.split(dataset, chosen)
    for out in options.out:
        check_writable(out)
    to = options.to or _default_format(dataset)
    for out, numbers in zip(options.out, halves, strict=True):
        episodes = rearrange.some(dataset, numbers, undivided=not options.tasks and options.episodes is None)
        write_any(out, episodes, to=to, storage=options.storage, on_episode=_counter(len(numbers)))
        print(f"{out}: {len(numbers)} of {len(dataset.lengths)} episodes written.")
    return 0


def _chosen(dataset: Dataset, options: SplitOptions) -> tuple[int, ...]:
    """Return the episodes to split off."""
    from sinew.data import rearrange

    if options.episodes is not None:
        return rearrange.chosen_by_number(dataset, options.episodes)
    if options.tasks:
        return rearrange.chosen_by_task(dataset, options.tasks)
    if options.share is None:
        return rearrange.chosen_by_itself(dataset)
    if dataset.held_out:
        print(
            f"note: {dataset.path} itself holds {len(dataset.held_out)} of {len(dataset.lengths)} episodes out; "
            "--share replaces that split. To split by it, leave --share out."
        )
    return rearrange.chosen_by_share(dataset, options.share)


def stats(words: list[str]) -> int:
    """Print what the numbers of a data set are like."""
    from sinew.data.value_stats import QUANTILES, column_stats

    options = read(StatsOptions, words, "sinew data stats")
    dataset = _opened(options.path, _said(options), images=options.images)
    found = column_stats(dataset, images=options.images, on_progress=_on_progress)
    print("\n".join(_table(found)))
    if options.json is not None:
        content = {
            "schema_version": 1,
            "path": str(options.path),
            "episodes": len(dataset.lengths),
            "frames": sum(dataset.lengths),
            "at": QUANTILES,
            "values": [dataclasses.asdict(item) for item in found],
        }
        write_json(options.json, content)
        print(f"{options.json}: written.")
    return 0


def view(words: list[str]) -> int:
    """Write a page that shows a few episodes."""
    from sinew.data.rearrange import chosen_by_number
    from sinew.data.view import spread, write_view

    options = read(ViewOptions, words, "sinew data view")
    dataset = _opened(options.path, dataclasses.replace(_said(options), image_size=options.image_size))
    if options.count < 1:
        raise ConfigError(f"count {options.count}: at least 1 episode is shown.")
    numbers = spread(len(dataset.lengths), options.count)
    if options.episodes is not None:
        numbers = chosen_by_number(dataset, options.episodes)
    out = options.out or Path(f"{dataset.path.resolve().stem}.html")
    write_view(dataset, numbers, out)
    print(f"{out.resolve()}: written, {out.stat().st_size / 1e6:.1f} MB. Open it in a browser.")
    return 0


def describe(report: Report) -> Iterator[str]:
    """Yield the lines that tell a person what was found, one kind after the other."""
    kinds = dict.fromkeys((item.severity, item.kind) for item in report.findings)
    for severity, kind in kinds:
        items = [item for item in report.findings if (item.severity, item.kind) == (severity, kind)]
        episodes = {item.episode for item in items if item.episode is not None}
        where = f" in {len(episodes)} of {len(report.lengths)} episodes" if episodes else ""
        yield f"{severity}: {kind}{where}"
        for item in items[:SHOWN]:
            yield f"  {item.place}: {item.evidence}".replace("\n", "\n    ")
        if len(items) > SHOWN:
            yield f"  and {len(items) - SHOWN} more; --json lists all"
        if severity != "note":
            yield f"  -> {items[0].remedy}"
    counts = {name: sum(item.severity == name for item in report.findings) for name in ("error", "warning")}
    words = ", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items())
    quality = sum(report.qualities) / len(report.qualities) if report.qualities else 0.0
    frames = sum(report.lengths)
    yield f"{len(report.lengths)} episodes, {frames} frames: {words}; mean quality {quality:.2f}"


def _said(options: _Options) -> IngestConfig:
    """Return what the command line says that the data do not."""
    return IngestConfig(spec=options.spec, instruction=options.instruction)


def _validated(path: Path, config: IngestConfig, patience: float) -> Report:
    from sinew.data.formats.hub import located
    from sinew.data.quality.validate import validate

    return validate(located(path), config, patience=patience, on_progress=_on_progress)


def _opened(path: Path, config: IngestConfig, *, images: bool = True) -> Dataset:
    from sinew.data.dataset import open_any
    from sinew.data.formats.hub import located

    return open_any(located(path), config, images=images)


def _default_format(dataset: Dataset) -> str:
    """Return the format of a data set where that can be written, else the one that most others read."""
    from sinew.data.dataset import STORE
    from sinew.data.formats import WRITERS

    return dataset.format if dataset.format in (*WRITERS, STORE) else "lerobot"


def _counter(total: int) -> Callable[[int], None]:
    return lambda written: _on_progress(written, total)


def _on_progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {total} episodes", end="\n" if done == total else "", file=sys.stderr, flush=True)


def _table(found: tuple[ValueStats, ...]) -> Iterator[str]:
    names = [f"{item.column} {item.name}" + (f" [{item.unit}]" if item.unit else "") for item in found]
    width = max(map(len, names), default=0)
    heads = ("mean", "std", "min", "1 %", "10 %", "50 %", "90 %", "99 %", "max")
    yield " " * width + "".join(f"{head:>11}" for head in heads)
    for name, item in zip(names, found, strict=True):
        middle = item.quantiles or (float("nan"),) * 5
        numbers = (item.mean, item.std, item.low, *middle, item.high)
        row = "".join(f"{'' if number != number else f'{number:.4g}':>11}" for number in numbers)
        yield f"{name:<{width}}{row}" + (f"   {item.missing} frames without a number" if item.missing else "")
