"""Images and text of any format into a store, once: every image brought to one size, resumable."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from sinew.core.config import digest, to_dict
from sinew.core.errors import ConfigError, DataError, SinewError
from sinew.core.files import write_json
from sinew.data.config import TextConfig
from sinew.data.formats import TEXT_FORMATS
from sinew.data.formats.hub import located
from sinew.data.formats.image_text import Encoded, TextSource
from sinew.data.formats.pictures import Picture
from sinew.data.formats.source import Progress
from sinew.data.jpeg import encode
from sinew.data.layout import cut, extend
from sinew.data.lock import WriterLock
from sinew.data.text_store import ROW, VERSION, TextStore

GROUP = 256
"""Records from one commit to the next."""
NAMES = ("images.bin", "images.i64", "records.jsonl", "rows.i64")
"""The files of a store in the order in which they are written; the last one is the commit."""


def open_text_source(path: Path) -> TextSource:
    """Open a data set of images and text, its format found by looking at it.

    Args:
        path: file or directory, or the data set's name on the hub.

    Raises:
        DataError: nothing there, or of no known format.
    """
    path = located(path)
    if not path.exists():
        raise DataError(f"{path}: no such data set.")
    for kind in TEXT_FORMATS.values():
        if kind.detect(path):
            return kind(path)
    raise DataError(
        f"{path}: no images with text in a format known here ({', '.join(TEXT_FORMATS)}). "
        "Give the JSON file, a tar shard, or the directory that holds it."
    )


def open_text(
    path: Path, *, into: Path, config: TextConfig | None = None, on_progress: Progress | None = None
) -> TextStore:
    """Return a store with the records of a data set, reading them in only the first time.

    All text is checked before the first image is read. The store's name carries a key of the files and the settings;
    images in a folder are not looked at for the key, so remove the store when only they have changed.
    A killed call leaves a ``.partial`` one with which the next goes on.

    Args:
        path: LLaVA's JSON or directory, tar shards, or a store.
        into: directory for stores.
        config: size of images and how they are kept.
        on_progress: called with records read and in all.

    Raises:
        DataError: damaged data, named by file and record; or another process reads them in.
        ConfigError: settings are wrong.
        SinewError: the disk is full; what was read stays and the next call goes on.
    """
    config = config or TextConfig()
    if (path / "text.json").exists():
        return TextStore.open(path)
    if min(config.image_size) < 8:
        raise ConfigError(f"image_size is {config.image_size}; height and width of at least 8 px are wanted.")
    source = open_text_source(path)
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in source.files]
    final = into / f"{path.resolve().stem}-{digest(config, [VERSION, stats])}"
    if not final.exists():
        _ingest(source, config, final, on_progress or (lambda _done, _wanted: None))
    return TextStore.open(final)


def _ingest(source: TextSource, config: TextConfig, final: Path, tell: Progress) -> None:
    partial = final.with_name(f"{final.name}.partial")
    try:
        partial.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinewError(f"{partial}: could not be made ({error.strerror}). Choose another place.") from error
    lock = WriterLock(partial / "writer.lock")
    try:
        if final.exists():  # another process was faster
            shutil.rmtree(partial)
            return
        total = sum(1 for _ in source.records())
        if not total:
            raise DataError(f"{source.path}: holds no records.")
        done = _done(partial)
        records = islice(source.records(), done, None)
        while group := list(_brought(islice(records, GROUP), config)):
            tell(done, total)
            _append(partial, group)
            done += len(group)
        write_json(
            partial / "text.json", {"schema_version": VERSION, "source": str(source.path), "config": to_dict(config)}
        )
        partial.rename(final)
        (final / "writer.lock").unlink(missing_ok=True)
    finally:
        lock.release()
    tell(total, total)


def _done(partial: Path) -> int:
    """Return how many records are committed, and cut off what is beyond."""
    rows = partial / "rows.i64"
    count = rows.stat().st_size // 24 if rows.exists() else 0
    sizes = [0, 0, 0, 0]
    if count:
        text, images = np.fromfile(rows, ROW, count=3 * count)[-3:-1].tolist()
        ends = np.fromfile(partial / "images.i64", ROW, count=images)
        sizes = [int(ends[-1]) if images else 0, 8 * images, text, 24 * count]
    for name, size in reversed(list(zip(NAMES, sizes, strict=True))):
        cut(partial / name, size)
    return count


def _brought(records: Iterator[Encoded], config: TextConfig) -> Iterator[tuple[bytes, list[bytes]]]:
    """Yield records as they are written: the line, and the images."""
    for encoded in records:
        record = encoded.decode()
        turns = [[turn.speaker, turn.text] for turn in record.turns]
        line = json.dumps({"id": record.id, "turns": turns}).encode() + b"\n"
        pictures = [fit(np.ascontiguousarray(image.transpose(1, 2, 0)), config) for image in record.images]
        yield line, [_kept(picture, config) for picture in pictures]


def _append(partial: Path, group: list[tuple[bytes, list[bytes]]]) -> None:
    """Commit some records; the rows are written last."""
    paths = [partial / name for name in NAMES]
    position = [path.stat().st_size if path.exists() else 0 for path in paths]
    images = [image for _, images in group for image in images]
    ends = position[0] + np.cumsum([len(image) for image in images], dtype=ROW)
    lines = [line for line, _ in group]
    rows = np.empty((len(group), 3), ROW)
    rows[:, 0] = position[2] + np.cumsum([len(line) for line in lines])
    rows[:, 1] = position[1] // 8 + np.cumsum([len(images) for _, images in group])
    rows[:, 2] = [zlib.crc32(b"".join(images), zlib.crc32(line)) for line, images in group]
    try:
        for path, at, parts in zip(paths, position, [images, [ends.tobytes()], lines, [rows.tobytes()]], strict=True):
            extend(path, at, [memoryview(part) for part in parts])
    except OSError as error:
        raise SinewError(
            f"{partial}: could not be extended ({error.strerror}). Free some disk space and run the same command "
            "again; it goes on where it was."
        ) from error


def fit(picture: Picture, config: TextConfig) -> Picture:
    """Return a picture (h, w, 3) brought to the size that the settings ask for."""
    height, width = config.image_size
    if config.fit == "stretch" or picture.shape[0] * width == picture.shape[1] * height:
        return _resized(picture, (height, width))
    choose: Callable[[float, float], float] = min if config.fit == "pad" else max
    share = choose(height / picture.shape[0], width / picture.shape[1])
    inner = _resized(picture, (max(1, round(picture.shape[0] * share)), max(1, round(picture.shape[1] * share))))
    down, across = (height - inner.shape[0]) // 2, (width - inner.shape[1]) // 2
    if config.fit == "crop":
        return inner[-down : height - down, -across : width - across]
    out = np.empty((height, width, 3), np.uint8)
    out[:] = picture.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
    out[down : down + inner.shape[0], across : across + inner.shape[1]] = inner
    return out


def _resized(picture: Picture, size: tuple[int, int]) -> Picture:
    if picture.shape[:2] == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.BICUBIC))


def _kept(picture: Picture, config: TextConfig) -> bytes:
    image = picture.transpose(2, 0, 1)
    return encode(image) if config.storage == "jpeg" else np.ascontiguousarray(image).tobytes()
