"""From the words of a command to its options and the full configuration of a run, or to a page of help."""

from __future__ import annotations

from sinew.cli.options import Options, split_words
from sinew.cli.page import short_help
from sinew.cli.resolve import parse_flags, starting_point, swap_kinds
from sinew.core.errors import ConfigError
from sinew.run import RunConfig

HELP = {"-h", "--help", "--help-all"}


def resolved_of(kind: type[Options], words: list[str], command: str) -> tuple[Options, RunConfig] | None:
    """Return the command's options and the full configuration, or None when help was asked for and given."""
    program = f"sinew {command}"
    options, rest = split_words(kind, [word for word in words if word not in HELP], program)
    config = RunConfig() if HELP & set(words) and not (options.preset or options.config) else starting_point(options)
    config = swap_kinds(config, rest)
    if "--help-all" in words:
        rest = ["--help"]
    elif HELP & set(words):
        print(short_help(kind, config, program, known=bool(options.preset or options.config)))
        return None
    refuse_idle(config, rest)
    return options, parse_flags(RunConfig, config, rest, f"{program} {options.preset or ''}".rstrip())


def refuse_idle(config: RunConfig, words: list[str]) -> None:
    """Refuse settings that a run in stages would not look at.

    Raises:
        ConfigError: there is one.
    """
    idle = [word for word in words if word.startswith(("--optim.", "--recipe."))]
    if config.stages and idle:
        part = idle[0].removeprefix("--").partition(".")[0]
        raise ConfigError(
            f"{idle[0]}: {config.name} learns in stages, each with {part} settings of its own "
            f"({', '.join(stage.name for stage in config.stages)}), so this would change nothing. Change its stages in "
            "a copy of such a run's config.json and give that: sinew train --config mine.json"
        )
