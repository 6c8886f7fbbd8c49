"""``sinew export``: a trained policy as an artefact that runs without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from sinew.cli.words import read
from sinew.core.errors import ConfigError


@dataclass(frozen=True)
class ExportOptions:
    """Export the policy of a run, and hold what was written against it.

    Ends with 1 where the two are not the same policy: a relative error above 1e-5 on random observations, or
    more than 1 % of episodes from the same initial states that end differently.

    Attributes:
        run: directory of the run, or one of its checkpoints.
        to: format.
        out: directory of the artefact; by default RUN/onnx, or CHECKPOINT-onnx beside a checkpoint.
        episodes: of the closed-loop check, over all tasks; 0 leaves it out.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    to: str = "onnx"
    out: Path | None = None
    episodes: int = 200


def export(words: list[str]) -> int:
    """Export a policy; 1 when the artefact is not the same policy."""
    options = read(ExportOptions, words, "sinew export")
    if options.episodes < 0:
        raise ConfigError(f"--episodes {options.episodes}: 0 or more is wanted.")

    from sinew.run.exporting import export_run

    return 0 if export_run(options.run, to=options.to, out=options.out, episodes=options.episodes) else 1
