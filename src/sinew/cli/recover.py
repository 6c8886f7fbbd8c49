"""``sinew data recover``: the whole frames of recordings that were broken off."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from sinew.cli.words import read


@dataclass(frozen=True)
class RecoverOptions:
    """Finish episodes whose recording was broken off, after their last whole frame.

    Attributes:
        path: directory of the recording.
    """

    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]


def recover(words: list[str]) -> int:
    """Save what a killed recorder left, and say what it was."""
    from sinew.data import recovery

    options = read(RecoverOptions, words, "sinew data recover")
    found = recovery.recover(options.path)
    for item in found:
        print("removed one without a whole frame" if item.path is None else f"{item.path}: {item.frames} frames")
        if item.rest is not None:
            print(f"{item.rest}: what lay behind, and is damaged; the disk has lost something. Nothing reads it.")
    print(f"{options.path}: {sum(item.frames for item in found)} frames saved in {len(found)} episodes")
    return 0
