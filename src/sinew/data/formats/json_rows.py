"""The objects of a JSON list, or of JSON lines, one in memory at a time: lists of images and text fill gigabytes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from sinew.core.errors import DataError

BLOCK = 1 << 18
SPACE = re.compile(r"[ \t\r\n]*")


def json_rows(path: Path, *, longest: int) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file.

    Args:
        path: UTF-8 text, ``[{...}, {...}]`` or one ``{...}`` a line.
        longest: characters of an object at most.

    Raises:
        DataError: not JSON, cut off, not objects, or one that is too long; names file and object.
    """
    number = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, row in enumerate(_objects(_Scanner(file, longest)), 1):  # noqa: B007  (for the message)
                yield row
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: record {number}: cannot be read as JSON ({error or 'nested too deeply'}). The file may have been "
            "cut off while it was written; restore it from a copy."
        ) from error
    except OSError as error:
        raise DataError(f"{path}: could not be read ({error.strerror}).") from error


def _objects(scanner: _Scanner) -> Iterator[dict[str, Any]]:
    """Yield the objects of a list or of lines."""
    listed = scanner.peek() == "["
    if listed:
        scanner.place += 1
    first = True
    while (sign := scanner.peek()) not in ("", "]"):
        if listed and not first:
            if sign != ",":
                raise ValueError(f"{sign!r} stands where a comma was expected")
            scanner.place += 1
            sign = scanner.peek()
        if sign != "{":
            raise ValueError(f"{sign!r} stands where an object {{...}} was expected")
        yield scanner.take()
        first = False
    if listed != (sign == "]"):
        raise ValueError("the list has no end" if listed else "a list ends that never began")
    if listed:
        scanner.place += 1
        if scanner.peek():
            raise ValueError("something follows the end of the list")


class _Scanner:
    """A window on a text that moves on."""

    def __init__(self, file: TextIO, longest: int) -> None:
        self.place = 0
        self._file, self._longest, self._text = file, longest, ""
        self._decoder = json.JSONDecoder()

    def peek(self) -> str:
        """Return the next sign that is no space, "" at the end."""
        while True:
            match = SPACE.match(self._text, self.place)
            self.place = match.end() if match else self.place
            if self.place < len(self._text):
                return self._text[self.place]
            if not self._more():
                return ""

    def take(self) -> dict[str, Any]:
        """Return the object that begins here and move behind it."""
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self.place)
            except ValueError:
                if len(self._text) - self.place > self._longest:
                    raise ValueError(f"not whole within {self._longest} characters") from None
                if not self._more():
                    raise
            else:
                self.place = end
                return value

    def _more(self) -> bool:
        rest = len(self._text) - self.place
        text = self._file.read(max(BLOCK, rest))  # doubling, so that a long object is not parsed too often
        self._text, self.place = self._text[self.place :] + text, 0
        return bool(text)
