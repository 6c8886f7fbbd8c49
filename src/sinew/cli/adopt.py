"""``sinew adopt``: a policy that others trained becomes one of ours, or parts of it see and read for one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from sinew.cli.words import read


@dataclass(frozen=True)
class AdoptOptions:
    """Take over a policy of LeRobot's or an OpenVLA; what is written is exported, served and run as any other.

    Attributes:
        source: its pretrained_model directory, with --part the directory with its safetensors; or an id on the hub.
        out: directory to write.
        part: policy takes over ACT, Diffusion Policy, SmolVLA, pi0 and OpenVLA whole; vision the SigLIP tower of
            SmolVLA, pi0 or OpenVLA; language their Llama or Gemma.
        heads: attention heads of that part, where its width does not tell.
        spec: spec.json with what LeRobot does not keep of the robot: names, units, rate, meaning of the actions.
            Without it the one beside the policy is read; where there is none, the message shows what to write.
        tokenizer: of a whole SmolVLA or pi0: directory with the tokenizer.json and the config.json of the
            vision-language model that it began as, or an id on the hub. Without it the one that its settings name, or
            that the published one began as.
        dataset: of an OpenVLA that knows several: whose scale its actions have.
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PRETRAINED_MODEL")]
    out: Path
    part: Literal["policy", "vision", "language"] = "policy"
    heads: int | None = None
    spec: Path | None = None
    tokenizer: str = ""
    dataset: str = ""


def adopt(words: list[str]) -> int:
    """Write the policy."""
    options = read(AdoptOptions, words, "sinew adopt")

    from sinew.deploy.onnx import exportable
    from sinew.run.adopting import adopt as write
    from sinew.run.adopting import adopt_part
    from sinew.run.screen import say

    if options.part != "policy":
        taken = adopt_part(options.source, options.out, options.part, options.heads)
        kind = "siglip" if options.part == "vision" else taken.kind.language
        deeper = " --policy.vision.layer -2" if options.part == "vision" and taken.kind.layer == -2 else ""
        flags = f"--policy.{options.part}.kind {kind} --policy.{options.part}.path {options.out}{deeper}"
        if options.part == "language" and not (options.out / "tokenizer.json").is_file():
            say(f"  no tokenizer.json beside it: put that of the model it began as into {options.out}")
        say(f"Next:   sinew train bc {flags} --data PATH")
        return 0
    policy = write(options.source, options.out, options.spec, options.tokenizer, options.dataset)
    weights = sum(value.numel() for value in policy.parameters())
    cameras, head = ", ".join(policy.spec.cameras), policy.config.head.kind
    say(f"{options.out}: {head} head, {weights / 1e6:.1f} M weights, sees {cameras}")
    say(f"Next:   sinew serve {options.out}")
    if policy.config.vision.kind == "prismatic" or getattr(policy.config.fusion, "kind", "") == "prefix":
        say(f"        sinew train bc --init {options.out} --data PATH")
    if exportable(policy.config):
        say(f"        sinew export {options.out} --to onnx")
    return 0
