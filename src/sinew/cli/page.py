"""The short page of help: a command's options and the settings one changes most."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

from sinew.cli.resolve import KINDS
from sinew.run import RunConfig

COMMON = (
    "seed",
    "device",
    "workers",
    "collect.episodes",
    "data.labels",
    "data.tolerance",
    "data.ingest.held_out",
    "data.ingest.image_size",
    "data.ingest.spec",
    "policy.vision.kind",
    "policy.head.kind",
    "policy.horizon",
    "policy.execute",
    "policy.grounding.weight",
    "recipe.kind",
    "recipe.batch",
    "recipe.rounds",
    "optim.lr",
    "loop.updates",
    "evaluate.episodes",
    "evaluate.controls",
)
"""The settings that the short help shows; ``--help-all`` shows the rest."""


def short_help(options: type[Any], config: RunConfig, command: str) -> str:
    """Return the options and the common settings of a configuration, one line each."""
    lines = [f"usage: {command} [PRESET] [flags]", "", (options.__doc__ or "").partition("\n")[0], "", "options"]
    for item in dataclasses.fields(options):
        lines += _entry(item.name, item.default, meaning(options, item.name))
    lines += ["", f"settings of {config.name!r} (all of them: --help-all)"]
    for where in COMMON:
        owner, _, name = where.rpartition(".")
        part = _at(config, owner)
        if hasattr(part, name):
            kinds = KINDS.get(owner, {}) if name == "kind" else {}
            text = f"one of {', '.join(kinds)}" if kinds else meaning(type(part), name)
            lines += _entry(where, getattr(part, name), text)
    return "\n".join(lines)


def meaning(kind: type[Any], name: str) -> str:
    """Return what the ``Attributes`` section of a dataclass says of a field, in one line."""
    section = re.sub(r"\s+", " ", (kind.__doc__ or "").partition("Attributes:")[2])
    match = re.search(rf"(?:^|[.\s]){name}: (.+?)(?:\.(?:\s|$)|$)", section)
    return match[1].replace("``", "") if match else ""


def _entry(flag: str, value: object, text: str) -> list[str]:
    shown = "" if value is None or value is False else f" [{_as_text(value)}]"
    head = f"  --{flag.rstrip('_').replace('_', '-')}"
    return [f"{head:<28}{text}{shown}"]


def _at(config: Any, where: str) -> Any:  # noqa: ANN401  (any config dataclass)
    for name in where.split(".") if where else ():
        config = getattr(config, name, None)
    return config


def _as_text(value: object) -> str:
    """Return a setting's value as one would type it."""
    if isinstance(value, bool | str | Path):
        return str(value)
    return " ".join(map(str, value)) if isinstance(value, tuple) else json.dumps(value)
