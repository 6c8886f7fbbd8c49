"""The short page of help: a command's options and the settings one changes most."""

from __future__ import annotations

from typing import Any

from sinew.cli.options import CollectOptions
from sinew.cli.resolve import KINDS
from sinew.cli.words import entry, flag_of, help_page, meaning
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


FOR_COLLECT = ("seed", "workers", "collect.episodes", "collect.mix", "collect.noise", "collect.held_out")
"""Those that change what is recorded."""


def short_help(options: type[Any], config: RunConfig, command: str, *, known: bool = True) -> str:
    """Return the options and the common settings of a configuration, one line each.

    Args:
        options: dataclass of the command's options.
        config: whose settings are shown.
        command: what one types for it.
        known: the configuration is that of a preset, not a stand-in for any.
    """
    lines = list(help_page(options, command, "[PRESET] [flags]"))
    whose = f"settings of {config.name!r}" if known else "settings of every preset; name one to see its own"
    lines += ["", f"{whose} (all of them: --help-all)"]
    for where in FOR_COLLECT if options is CollectOptions else COMMON:
        owner, _, name = where.rpartition(".")
        part = _at(config, owner)
        if hasattr(part, name):
            kinds = KINDS.get(owner, {}) if name == "kind" else {}
            text = f"one of {', '.join(kinds)}" if kinds else meaning(type(part), name)
            lines.append(entry(flag_of(where), getattr(part, name), text))
    return "\n".join(lines)


def _at(config: Any, where: str) -> Any:  # noqa: ANN401  (any config dataclass)
    for name in where.split(".") if where else ():
        config = getattr(config, name, None)
    return config
