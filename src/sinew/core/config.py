"""Saving and loading frozen config dataclasses as JSON, with every mistake named at once."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import types
import typing
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from sinew.core.errors import ConfigError
from sinew.core.files import read_json

C = TypeVar("C")


def to_dict(config: Any) -> dict[str, Any]:  # noqa: ANN401  (any config dataclass)
    """Return a config as plain JSON values."""
    return _adapter(type(config)).dump_python(config, mode="json")


def from_dict(kind: type[C], content: Any, source: str, *, what: str | None = None) -> C:  # noqa: ANN401  (any JSON value)
    """Validate plain values into a config dataclass.

    Args:
        kind: the dataclass wanted.
        content: what was read.
        source: where it came from, for messages.
        what: what the user calls it, for messages; the name of the class where it is None.

    Raises:
        ConfigError: unknown keys, missing keys or wrong values, all listed.
    """
    from pydantic import ValidationError

    what = what or kind.__name__
    unknown = list(_unknown_keys(kind, content, ""))
    try:
        result = _adapter(kind).validate_python(content)
    except ValidationError as error:
        lines = [f"  {'.'.join(str(part) for part in item['loc']) or what}: {item['msg']}" for item in error.errors()]
        raise ConfigError("\n".join([f"{source}: not a valid {what}.", *unknown, *lines])) from error
    if unknown:
        raise ConfigError("\n".join([f"{source}: not a valid {what}.", *unknown]))
    return result


def load(kind: type[C], path: Path) -> C:
    """Read and validate a config file.

    Raises:
        ConfigError: the file holds unknown keys or wrong values.
        DataError: the file is missing or not JSON.
    """
    return from_dict(kind, read_json(path), str(path))


def digest(*parts: Any) -> str:  # noqa: ANN401  (any config dataclass or JSON value)
    """Return eight hexadecimal digits that change with any setting of any part."""
    plain = [to_dict(part) if dataclasses.is_dataclass(part) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:8]


@lru_cache(maxsize=64)
def _adapter(kind: Any) -> Any:  # noqa: ANN401
    """Return pydantic's validator of a type; making one takes many milliseconds."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _unknown_keys(kind: Any, content: Any, prefix: str) -> list[str]:  # noqa: ANN401
    """List keys that no field of the dataclass answers to, with the nearest field."""
    if isinstance(typing.get_origin(kind), type):
        parts = _parts(kind, content)
        return [line for name, part, value in parts for line in _unknown_keys(part, value, f"{prefix}{name}.")]
    if not (dataclasses.is_dataclass(kind) and isinstance(content, dict)):
        return []
    hints = typing.get_type_hints(kind)
    known = {item.name: hints[item.name] for item in dataclasses.fields(kind)}
    found: list[str] = []
    for key, value in content.items():
        if key in known:
            found += _unknown_keys(_pick(known[key], value), value, f"{prefix}{key}.")
            continue
        near = difflib.get_close_matches(str(key), known, n=1)
        found.append(f"  {prefix}{key}: unknown setting" + (f"; did you mean {prefix}{near[0]}?" if near else "."))
    return found


def _parts(kind: Any, content: Any) -> list[tuple[str, Any, Any]]:  # noqa: ANN401
    """List (name, type, value) of what a mapping or a sequence of configs holds."""
    inner = typing.get_args(kind)
    if isinstance(content, dict) and issubclass(typing.get_origin(kind), Mapping):
        return [(str(name), _pick(inner[1], value), value) for name, value in content.items()]
    if isinstance(content, (list, tuple)) and issubclass(typing.get_origin(kind), Sequence):
        return [(str(number), _pick(inner[0], value), value) for number, value in enumerate(content)]
    return []


def _pick(kind: Any, value: Any) -> Any:  # noqa: ANN401
    """Of a union of dataclasses choose the one whose ``kind`` the value names, the first where it names none."""
    if typing.get_origin(kind) not in (typing.Union, types.UnionType):
        return kind
    for option in typing.get_args(kind):
        if dataclasses.is_dataclass(option) and isinstance(value, dict):
            default = next((item.default for item in dataclasses.fields(option) if item.name == "kind"), None)
            if default is None or default == value.get("kind", default):
                return option
        if isinstance(value, (list, tuple)) and typing.get_origin(option) in (tuple, list):
            return option
    return kind
