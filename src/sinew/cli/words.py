"""Reads a command's words into its options; its help looks like that of every other command."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import tyro

HELP = {"-h", "--help"}
Options = TypeVar("Options")


def read(kind: type[Options], words: list[str], program: str) -> Options:
    """Return the options among a command's words.

    Raises:
        SystemExit: help was asked for and given, or a word is wrong, which has been said.
    """
    if HELP & {*words}:
        print("\n".join(help_page(kind, program)))
        raise SystemExit(0)
    return tyro.cli(kind, args=words, prog=program)


def help_page(kind: type[Any], program: str, usage: str = "") -> Iterator[str]:
    """Yield how a command is called, what it does and what it takes, an option a line.

    Args:
        kind: dataclass of its options; what they mean stands in its docstring.
        program: what one types for it.
        usage: what stands behind that; the options without a flag, and then the flags, where nothing is given.
    """
    places = positional(kind)
    shown = [f"{place} ..." if several else place for place, several in places.values()]
    yield f"usage: {program} {usage or ' '.join([*shown, '[flags]'])}"
    yield ""
    yield (kind.__doc__ or "").partition("\n")[0]
    yield ""
    yield "options"
    for item in dataclasses.fields(kind):
        head = places[item.name][0] if item.name in places else flag_of(item.name)
        if item.default is True:
            head, default = f"{head}, --no-{head[2:]}", None
        else:
            default = item.default if item.default_factory is dataclasses.MISSING else None
        yield entry(head, default, meaning(kind, item.name))


def positional(kind: type[Any]) -> dict[str, tuple[str, bool]]:
    """Return the options that stand without a flag: what help calls each, and whether it may be several."""
    found: dict[str, tuple[str, bool]] = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        marks = getattr(hint, "__metadata__", ())
        if tyro.conf.Positional in marks or any("Positional" in repr(mark) for mark in marks):
            called = next((mark.metavar for mark in marks if getattr(mark, "metavar", None)), name.upper())
            found[name] = (called, getattr(hint.__origin__, "__origin__", None) is tuple)
    return found


def meaning(kind: type[Any], name: str) -> str:
    """Return what the ``Attributes`` section of a dataclass, or of one it extends, says of a field, in one line."""
    for one in kind.__mro__:
        section = re.sub(r"\s+", " ", (one.__doc__ or "").partition("Attributes:")[2])
        match = re.search(rf"(?:^|[.\s]){name}: (.+?)(?:\.(?:\s|$)|$)", section)
        if match:
            return match[1].replace("``", "")
    return ""


def flag_of(name: str) -> str:
    """Return how a setting is typed."""
    return f"--{name.rstrip('_').replace('_', '-')}"


def entry(head: str, value: object, text: str) -> str:
    """Return the line of an option, with its default where it has one that says something."""
    silent = value is None or value is False or value in ("", ())
    shown = "" if silent else " [needed]" if value is dataclasses.MISSING else f" [{_as_text(value)}]"
    return f"  {head:<26}{text}{shown}" if len(head) < 25 else f"  {head}  {text}{shown}"


def _as_text(value: object) -> str:
    """Return a setting's value as one would type it."""
    if isinstance(value, bool | str | Path):
        return str(value)
    return " ".join(map(str, value)) if isinstance(value, tuple) else json.dumps(value)
