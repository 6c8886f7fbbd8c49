"""``sinew diagnose``: what is wrong with a training, according to its record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from sinew.cli.words import read


@dataclass(frozen=True)
class DiagnoseOptions:
    """Say what is wrong with a run, running or finished: evidence, likely cause, what to try.

    Attributes:
        run: its directory.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]


def diagnose(words: list[str]) -> int:
    """Print the findings; 1 where there are any."""
    from sinew.run.diagnosing import findings

    options = read(DiagnoseOptions, words, "sinew diagnose")
    return 1 if findings(options.run) else 0
