"""``sinew adopt``: a policy that LeRobot trained becomes one of ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from sinew.cli.words import read


@dataclass(frozen=True)
class AdoptOptions:
    """Take over a policy that LeRobot trained; what is written is exported, served and run as any other.

    Attributes:
        source: its pretrained_model directory.
        out: policy directory to write.
        spec: spec.json with what LeRobot does not keep of the robot: names, units, rate, meaning of the actions.
            Without it the one beside the policy is read; where there is none, the message shows what to write.
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PRETRAINED_MODEL")]
    out: Path
    spec: Path | None = None


def adopt(words: list[str]) -> int:
    """Write the policy."""
    options = read(AdoptOptions, words, "sinew adopt")

    from sinew.models.heads.config import DiffusionHeadConfig
    from sinew.run.adopting import adopt as write
    from sinew.run.screen import say

    policy = write(options.source, options.out, options.spec)
    weights = sum(value.numel() for value in policy.parameters())
    cameras, head = ", ".join(policy.spec.cameras), policy.config.head.kind
    say(f"{options.out}: {head} head, {weights / 1e6:.1f} M weights, sees {cameras}")
    say(f"Next:   sinew serve {options.out}")
    if not isinstance(policy.config.head, DiffusionHeadConfig):  # its draws do not fit an artefact
        say(f"        sinew export {options.out} --to onnx")
    return 0
