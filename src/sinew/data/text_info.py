"""What a set of images and text holds, for people, and such a set written in another format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from sinew.core.errors import ConfigError, DataError
from sinew.data.formats import FORMATS, TEXT_FORMATS, TEXT_WRITERS
from sinew.data.formats.hub import located
from sinew.data.formats.image_text import Encoded, ImageText, Turn
from sinew.data.formats.source import Progress
from sinew.data.formats.webdataset import WebDataset
from sinew.data.text_ingest import open_text_source
from sinew.data.text_store import TextStore


def is_text(path: Path) -> bool:
    """Return whether images with text lie at a path, in a known format or read in, and no recordings of a robot."""
    if (path / "text.json").exists():
        return True
    path = located(path)
    robots = (path / "store.json").exists() or any(kind.detect(path) for kind in FORMATS.values())
    return not robots and any(kind.detect(path) for kind in TEXT_FORMATS.values())


def describe_text(path: Path) -> Iterator[tuple[str, str]]:
    """Yield what there is to say of a set of images and text, label by label. All text is read, of images the first.

    Raises:
        DataError: a record is damaged; names file and record.
    """
    if (path / "text.json").exists():
        yield from _describe_store(TextStore.open(path))
        return
    source = open_text_source(path)
    yield "format", next(name for name, kind in TEXT_FORMATS.items() if isinstance(source, kind))
    first: ImageText | None = None
    sizes: Counter[int] = Counter()
    turns: list[int] = []
    letters: list[int] = []
    for record in source.records():
        if first is None and record.pictures:
            first = record.decode()
        sizes[len(record.pictures)] += 1
        turns.append(len(record.turns))
        letters.append(sum(len(turn.text) for turn in record.turns))
    if first is None and not turns:
        raise DataError(f"{path}: holds no records.")
    yield "records", str(len(turns))
    yield "images", f"{sum(number * count for number, count in sizes.items())}, {_counts(sizes)}"
    yield "turns", f"{sum(turns)}, {min(turns)} to {max(turns)} a record"
    yield "text", f"{sum(letters)} characters, {min(letters)} to {max(letters)} a record"
    if first is not None:
        yield from _example(first)
    if isinstance(source, WebDataset) and source.unread:
        yield "not read", ", ".join(sorted(source.unread))


def convert_text(path: Path, out: Path, *, to: str, on_progress: Progress | None = None) -> None:
    """Write a set of images and text, or a store of one, in another format.

    Args:
        path: of a known format, or a store, whose images then have its size.
        out: directory to write; must not exist.
        to: name of the format.
        on_progress: called with records written and in all.

    Raises:
        ConfigError: there is no such format to write.
        DataError: a record is damaged or cannot be told in that format; or ``out`` exists.
    """
    if to not in TEXT_WRITERS:
        raise ConfigError(
            f"{path} holds images with text, which are written as {', '.join(TEXT_WRITERS)}; {to} was asked for."
        )
    if (path / "text.json").exists():
        store = TextStore.open(path)
        total, records = store.num_records, map(store.record, range(store.num_records))
    else:
        source = open_text_source(path)
        total, records = sum(1 for _ in source.records()), map(Encoded.decode, source.records())

    def report(written: int) -> None:
        if on_progress is not None:
            on_progress(written, total)

    TEXT_WRITERS[to].write(out, records, on_record=report)


def _describe_store(store: TextStore) -> Iterator[tuple[str, str]]:
    height, width = store.config.image_size
    yield "format", "store of sinew, images with text"
    yield "records", str(store.num_records)
    yield "images", f"{store.num_images}, {height} x {width} px, {store.config.storage}, fit by {store.config.fit}"
    yield from _example(store.record(0))


def _counts(sizes: Counter[int]) -> str:
    return ", ".join(f"{number} in {count} records" for number, count in sorted(sizes.items()))


def _example(record: ImageText) -> Iterator[tuple[str, str]]:
    shapes = ", ".join(f"{image.shape[1]} x {image.shape[2]} px" for image in record.images) or "no image"
    yield "first", f"record {record.id}, {shapes}"
    for turn in record.turns[:4]:
        yield "", _short(turn)


def _short(turn: Turn) -> str:
    text = " ".join(turn.text.split())
    return f"{turn.speaker}: {text[:100]}{'...' if len(text) > 100 else ''}"
