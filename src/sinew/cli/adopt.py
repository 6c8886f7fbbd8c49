"""``sinew adopt``: a policy that others trained becomes one of ours, or its vision tower sees for one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from sinew.cli.words import read


@dataclass(frozen=True)
class AdoptOptions:
    """Take over a policy that LeRobot trained; what is written is exported, served and run as any other.

    Attributes:
        source: its pretrained_model directory; with --part vision the directory with its safetensors.
        out: directory to write.
        part: policy takes over ACT and Diffusion Policy whole; vision the SigLIP tower of SmolVLA, pi0 or OpenVLA.
        heads: attention heads of that tower, where its width does not tell.
        spec: spec.json with what LeRobot does not keep of the robot: names, units, rate, meaning of the actions.
            Without it the one beside the policy is read; where there is none, the message shows what to write.
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PRETRAINED_MODEL")]
    out: Path
    part: Literal["policy", "vision"] = "policy"
    heads: int | None = None
    spec: Path | None = None


def adopt(words: list[str]) -> int:
    """Write the policy."""
    options = read(AdoptOptions, words, "sinew adopt")

    from sinew.models.heads.config import DiffusionHeadConfig
    from sinew.run.adopting import adopt as write
    from sinew.run.adopting import adopt_vision
    from sinew.run.screen import say

    if options.part == "vision":
        taken = adopt_vision(options.source, options.out, options.heads)
        deeper = "" if taken.kind.layer == -1 else f" --policy.vision.layer {taken.kind.layer}"
        say(
            f"Next:   sinew train bc --policy.vision.kind siglip --policy.vision.path {options.out}{deeper} --data PATH"
        )
        return 0
    policy = write(options.source, options.out, options.spec)
    weights = sum(value.numel() for value in policy.parameters())
    cameras, head = ", ".join(policy.spec.cameras), policy.config.head.kind
    say(f"{options.out}: {head} head, {weights / 1e6:.1f} M weights, sees {cameras}")
    say(f"Next:   sinew serve {options.out}")
    if not isinstance(policy.config.head, DiffusionHeadConfig):  # its draws do not fit an artefact
        say(f"        sinew export {options.out} --to onnx")
    return 0
