"""Image-text pairs in the tar shards of WebDataset: files of one name, one after another, are a record.

Layout::

    NAME-000000.tar  NAME-000001.tar ...
        000.jpg  000.txt            an image and its caption
        001.png  001.json           or {"caption": text} or {"text": text} or a LLaVA record's {"conversations": [...]}

Shards are read in the order of their names and members in the order they lie in; nothing is unpacked. A shard that
does not end as a tar file must was cut off and is refused, which the standard library passes over.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from sinew.core.errors import DataError
from sinew.data.formats.image_text import IMAGE, MAX_PICTURE, MAX_TEXT, Encoded, Picture, Turn, check_turns, turns_of

SUFFIX = ".tar"
PICTURES = ("jpg", "jpeg", "png", "webp")
PICKLES = ("pickle", "pkl")
CAPTIONS = ("caption", "text")
BROKEN = (tarfile.TarError, OSError, EOFError, ValueError, RecursionError, OverflowError, KeyError, IndexError)
"""What the standard library raises on damaged tar files."""
Members = Mapping[str, tarfile.TarInfo]


class WebDataset:
    """Reads the layout above; see ``TextSource``.

    Args:
        path: a shard, or the directory that holds them.

    Attributes:
        unread: suffixes of members that were passed over in reading.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shards = tuple(_shards(path))
        self.unread: set[str] = set()
        if not self.shards:
            raise DataError(f"{path}: there is no {SUFFIX} file.")

    @staticmethod
    def detect(path: Path) -> bool:
        """Return whether this is a tar file, or a directory with one."""
        return bool(_shards(path))

    @property
    def files(self) -> tuple[Path, ...]:
        """The shards."""
        return self.shards

    def records(self) -> Iterator[Encoded]:
        """Yield all records, shard by shard."""
        for shard in self.shards:
            yield from self._records(shard)

    def _records(self, shard: Path) -> Iterator[Encoded]:
        try:
            with tarfile.open(shard, "r:") as file:
                for key, members in _groups(_members(file, shard), shard):
                    yield self._record(file, shard, key, members)
        except BROKEN as error:
            raise DataError(
                f"{shard}: cannot be read as a tar file ({error or 'nested too deeply'}). Restore it from a copy."
            ) from error

    def _record(self, file: tarfile.TarFile, shard: Path, key: str, members: Members) -> Encoded:
        where = f"{shard}: record {key}"
        pictures = [suffix for suffix in PICTURES if suffix in members]
        self.unread |= {*members} - {*PICTURES, "txt", "json"}
        pickles = [suffix for suffix in members if suffix.endswith(PICKLES)]
        if pickles and not pictures:
            raise DataError(
                f"{where}: is a pickle ({pickles[0]}), which may run any code and is never read. Robot data that are "
                "packed so are to be had as RLDS too: Open X-Embodiment lies in gs://gresearch/robotics."
            )
        if len(pictures) != 1:
            raise DataError(
                f"{where}: has {len(pictures)} images among {', '.join(members)}; "
                f"one of {', '.join(PICTURES)} is needed."
            )
        turns = _turns(where, members, lambda member: _text(file, member, where))
        check_turns(where, turns, 1)
        member = members[pictures[0]]
        return Encoded(key, where, (Picture(member.name, lambda: _read(file, member, where, MAX_PICTURE)),), turns)


def _shards(path: Path) -> list[Path]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [file for file in files if file.suffix.lower() == SUFFIX and file.is_file()]


def _groups(members: Iterator[tarfile.TarInfo], shard: Path) -> Iterator[tuple[str, Members]]:
    """Yield neighbours that share a name, by their suffixes."""
    key, group = "", dict[str, tarfile.TarInfo]()
    for member in members:
        stem, suffix = _split(member.name)
        if stem != key and group:
            yield key, group
            group = {}
        if suffix in group:
            raise DataError(f"{shard}: {member.name} stands there twice. Write the shard again.")
        key = stem
        group[suffix] = member
    if group:
        yield key, group


def _members(file: tarfile.TarFile, shard: Path) -> Iterator[tarfile.TarInfo]:
    """Yield the plain files of a shard, and refuse one that does not end as it must."""
    while (member := file.next()) is not None:
        file.members.clear()  # type: ignore[attr-defined]  # the library would keep them all
        if member.isdir():
            continue
        parts = PurePosixPath(member.name).parts
        if not member.isreg() or member.issparse() or member.name.startswith("/") or ".." in parts:
            raise DataError(f"{shard}: {member.name[:80]!r} is no plain file inside the shard. Write it without links.")
        yield member
    with shard.open("rb") as raw:
        raw.seek(file.offset)
        while block := raw.read(1 << 20):
            if block.count(0) != len(block):
                raise DataError(
                    f"{shard}: is damaged at byte {file.offset}: no header of a file. Restore it from a copy."
                )
    if shard.stat().st_size < file.offset + tarfile.BLOCKSIZE:
        raise DataError(f"{shard}: has no end mark, so files may be missing from it. Restore it from a copy.")


def _split(name: str) -> tuple[str, str]:
    """Return what files of a record share, and the rest of the name: the first point of the last part divides."""
    folder, slash, last = name.rpartition("/")
    stem, _, suffix = last.partition(".")
    return f"{folder}{slash}{stem}", suffix.lower()


def _turns(where: str, members: Members, read: Callable[[tarfile.TarInfo], str]) -> tuple[Turn, ...]:
    """Return the conversation of a record, from its json before its txt."""
    row: Any = {}
    if "json" in members:
        try:
            row = json.loads(read(members["json"]))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: its json is not JSON ({error or 'nested too deeply'}).") from error
        if not isinstance(row, dict):
            raise DataError(f"{where}: its json holds no object {{...}}, but a {type(row).__name__}.")
        if "conversations" in row:
            return turns_of(row["conversations"], where)
    caption = read(members["txt"]) if "txt" in members else next((row[name] for name in CAPTIONS if name in row), None)
    if not isinstance(caption, str):
        raise DataError(
            f"{where}: has no text: a txt, or a json with {', '.join(CAPTIONS)} or conversations, is needed; "
            f"there are {', '.join(members)}."
        )
    return (Turn("human", IMAGE), Turn("gpt", caption.strip()))


def _text(file: tarfile.TarFile, member: tarfile.TarInfo, where: str) -> str:
    try:
        return _read(file, member, where, MAX_TEXT).decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: {member.name} is not UTF-8 ({error}).") from error


def _read(file: tarfile.TarFile, member: tarfile.TarInfo, where: str, most: int) -> bytes:
    if member.size > most:
        raise DataError(f"{where}: {member.name} has {member.size} bytes, {most} are the most that is read.")
    try:
        content = file.extractfile(member)
        return content.read() if content is not None else b""
    except BROKEN as error:
        raise DataError(f"{where}: {member.name} cannot be read ({error}). Restore the shard from a copy.") from error
