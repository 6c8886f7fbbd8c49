"""``sinew bench``: how fast a preset trains here, and where the time goes."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sinew.cli.options import TrainOptions
from sinew.core.errors import ConfigError


@dataclass(frozen=True)
class BenchOptions(TrainOptions):
    """Measure how fast a preset trains on this machine.

    Attributes:
        seconds: of measured updates, after some that warm up.
        json: print JSON instead of the table.
    """

    seconds: float = 5.0
    json: bool = False


def bench(words: list[str]) -> int:
    """Measure and print the speed of a configuration's updates."""
    from sinew import run
    from sinew.cli.configured import resolved_of
    from sinew.run.screen import columns, quiet, say
    from sinew.studies.bench import as_json, rows, verdict
    from sinew.studies.bench import bench as measure

    resolved = resolved_of(BenchOptions, words, "bench")
    if resolved is None:
        return 0
    options, config = resolved
    if options.seconds <= 0:
        raise ConfigError(f"--seconds {options.seconds:g}: give a number above 0.")
    with quiet(options.json):
        config, recorded = run.prepare(config, root=options.out)
        speed = measure(config, root=options.out, seconds=options.seconds, recorded=recorded)
    if options.json:
        print(json.dumps({"preset": config.name, "size": options.size, **as_json(speed)}, indent=2))
        return 0
    columns((f"{config.name}, size {options.size}", "measured"), rows(speed))
    say(f"\n{verdict(speed)}")
    return 0
