"""Images and conversations in the layout of LLaVA: one JSON list, and image files beside it.

Layout::

    NAME.json      [{"id": "004", "image": "004.jpg", "conversations": [
                        {"from": "human", "value": "<image> What ...?"}, {"from": "gpt", "value": "A ..."}]}, ...]
    images/        the files that ``image`` names; or they lie beside the JSON, or in images.zip

``image`` may be a list, or missing from a record of text alone. JSON lines are read as well. The zip file is read
where it is; nothing is ever unpacked, and names that lead out of the data set are refused.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, cast

import numpy as np

from sinew.core.errors import DataError
from sinew.core.files import new_directory
from sinew.data.formats.image_text import MAX_PICTURE, MAX_TEXT, Encoded, ImageText, Picture, check_turns, turns_of
from sinew.data.formats.json_rows import json_rows
from sinew.data.formats.pictures import encode
from sinew.data.formats.source import check_writable

SUFFIXES = (".json", ".jsonl")
FOLDER, ARCHIVE = "images", "images.zip"


class Llava:
    """Reads and writes the layout above; see ``TextSource``.

    Args:
        path: the JSON file, or the directory that holds one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        found = _tables(path)
        if len(found) != 1:
            names = ", ".join(file.name for file in found) or "none"
            raise DataError(f"{path}: one JSON file of conversations is needed, found {names}. Name the file itself.")
        self.table = found[0]

    @staticmethod
    def detect(path: Path) -> bool:
        """Return whether the first record of a JSON file, or of one in a directory, has conversations."""
        return bool(_tables(path))

    @property
    def files(self) -> tuple[Path, ...]:
        """The JSON file, and the archive of images where there is one."""
        archive = self.table.with_name(ARCHIVE)
        return (self.table, archive) if archive.is_file() else (self.table,)

    def records(self) -> Iterator[Encoded]:
        """Yield all records in the order of the file."""
        with _album(self.table.parent) as read:
            for number, row in enumerate(json_rows(self.table, longest=MAX_TEXT)):
                yield _record(row, number, f"{self.table}: record {number}", read)

    @staticmethod
    def write(path: Path, records: Iterable[ImageText], *, on_record: Callable[[int], None] | None = None) -> None:
        """Write records to a new directory, images as PNG.

        Args:
            path: the directory; must not exist.
            records: one in memory at a time.
            on_record: called with the number written so far.

        Raises:
            DataError: there is something already, a record is not valid, or there are none.
            SinewError: the place cannot be written.
        """
        check_writable(path)
        count = 0
        with new_directory(path) as folder, (folder / "data.json").open("w", encoding="utf-8") as file:
            (folder / FOLDER).mkdir()
            for count, record in enumerate(records, 1):
                record.check()
                names = [f"{count - 1:08d}-{number}.png" for number in range(len(record.images))]
                for name, image in zip(names, record.images, strict=True):
                    picture = np.ascontiguousarray(image.transpose(1, 2, 0))
                    (folder / FOLDER / name).write_bytes(encode(picture))
                turns = [{"from": turn.speaker, "value": turn.text} for turn in record.turns]
                row = {"id": record.id, "image": names[0] if len(names) == 1 else names, "conversations": turns}
                file.write(("[\n" if count == 1 else ",\n") + json.dumps(row if names else _without(row, "image")))
                if on_record is not None:
                    on_record(count)
            if not count:
                raise DataError(f"{path}: there are no records to write.")
            file.write("\n]\n")


def _without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}


def _tables(path: Path) -> list[Path]:
    """Return the JSON files of conversations at a path."""
    if path.is_dir():
        return [file for file in sorted(path.iterdir()) if file.is_file() and _is_table(file)]
    return [path] if path.is_file() and _is_table(path) else []


def _is_table(file: Path) -> bool:
    if file.suffix.lower() not in SUFFIXES:
        return False
    try:
        first = next(json_rows(file, longest=MAX_TEXT), None)
    except DataError:
        return False
    return first is not None and "conversations" in first


def _record(row: dict[str, Any], number: int, where: str, read: Callable[[str, str], bytes]) -> Encoded:
    """Return a record that was checked, its images not yet read."""
    name = row.get("id", number)
    if not isinstance(name, (str, int)):
        raise DataError(f"{where}: id is {str(name)[:80]!r}, a text or a number is needed.")
    where = f"{where} ({name})"
    turns = turns_of(row.get("conversations"), where)
    image = row.get("image")
    names = cast("list[Any]", image) if isinstance(image, list) else [image] if image else []
    for item in names:
        if not isinstance(item, str) or not _inside(item):
            raise DataError(f"{where}: image is {str(item)[:80]!r}; the name of a file inside the data set is needed.")
    check_turns(where, turns, len(names))
    pictures = tuple(Picture(item, lambda item=item: read(item, where)) for item in names)
    return Encoded(str(name), where, pictures, turns)


def _inside(name: str) -> bool:
    """Return whether a name stays in its folder."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and not set(name) & {"\\", "\0"}


@contextmanager
def _album(folder: Path) -> Generator[Callable[[str, str], bytes]]:
    """Yield a call that returns the bytes of an image by its name; the second argument is for messages."""
    archive = folder / ARCHIVE
    zipped = None
    try:
        zipped = zipfile.ZipFile(archive) if archive.is_file() else None
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise DataError(f"{archive}: cannot be read as a zip file ({error}). Restore it from a copy.") from error

    def read(name: str, where: str) -> bytes:
        for parent in (folder / FOLDER, folder):
            if (parent / name).is_file():
                return _read_file(parent / name, where)
        if zipped is not None:
            for inner in (name, f"{FOLDER}/{name}"):
                if inner in zipped.NameToInfo:
                    return _read_member(zipped, inner, f"{where}: {archive}")
        places = f"{folder / FOLDER}, {folder}" + (f" and {ARCHIVE}" if zipped else "")
        raise DataError(f"{where}: its image {name} is in none of {places}. Restore it, or leave the record out.")

    try:
        yield read
    finally:
        if zipped is not None:
            zipped.close()


def _read_file(file: Path, where: str) -> bytes:
    try:
        size = file.stat().st_size
        _check_size(f"{where}: {file}", size)
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{where}: {file} could not be read ({error.strerror}).") from error


def _read_member(zipped: zipfile.ZipFile, name: str, where: str) -> bytes:
    """Return a file of the archive, no more of it than it says to hold."""
    _check_size(f"{where}: {name}", zipped.getinfo(name).file_size)
    try:
        with zipped.open(name) as file:
            return file.read(MAX_PICTURE)
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, zlib.error) as error:
        raise DataError(f"{where}: {name} cannot be read ({error}). Restore the archive from a copy.") from error


def _check_size(where: str, size: int) -> None:
    if size > MAX_PICTURE:
        raise DataError(f"{where} has {size} bytes, {MAX_PICTURE} are the most that is read. Leave the record out.")
