"""A ``pretrained_model`` directory of LeRobot: what its config.json asks for, and the statistics of its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from sinew.core.errors import CheckpointError
from sinew.core.files import read_json
from sinew.models.config import PolicyConfig
from sinew.models.encoder_config import ResnetConfig, ResnetSizes

if TYPE_CHECKING:
    from tokenizers import Tokenizer

IMAGES, STATE, ACTION = "observation.images.", "observation.state", "action"
ONE_IMAGE = "observation.image"
"""What the only camera may be called; with a number behind it, one of several."""
EMPTY = f"{IMAGES}empty_camera_"
"""Cameras that are never there; a policy is shown black images that nothing looks at."""
PREPROCESSOR, POSTPROCESSOR = "policy_preprocessor.json", "policy_postprocessor.json"
EPSILON = 1e-8
"""What LeRobot divides by where values never vary."""
NORMALIZERS = ("normalizer_processor", "unnormalizer_processor")
RESNETS: Mapping[str, tuple[tuple[int, ...], Literal["basic", "bottleneck"]]] = {
    "resnet18": ((2, 2, 2, 2), "basic"),
    "resnet34": ((3, 4, 6, 3), "basic"),
    "resnet50": ((3, 4, 6, 3), "bottleneck"),
}
"""Blocks of each stage, and their kind, of torchvision's residual networks."""


@dataclass(frozen=True)
class Foreign:
    """A policy that LeRobot trained, in our terms.

    Attributes:
        policy: settings that build the same network.
        cameras: (height, width) [px] by name.
        state_size: S. action_size: A.
        low: smallest actions it was trained on, (A,); none where it brings no statistics. high: largest ones.
        weights: of our ``VLAPolicy`` of these settings, normaliser included.
        notes: what is not taken over, in sentences.
        tokenizer: of its words, where it hears any. blueprints: of its pretrained parts.
    """

    policy: PolicyConfig
    cameras: Mapping[str, tuple[int, int]]
    state_size: int
    action_size: int
    low: tuple[float, ...]
    high: tuple[float, ...]
    weights: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()
    tokenizer: Tokenizer | None = None
    blueprints: Mapping[str, Any] = field(default_factory=dict)


class Scales:
    """The statistics that LeRobot's processors normalise with.

    Args:
        directory: ``pretrained_model``.
        content: of its config.json.
        needed: there must be some.

    Raises:
        CheckpointError: they are missing.
    """

    def __init__(self, directory: Path, content: Mapping[str, Any], *, needed: bool = True) -> None:
        from safetensors.torch import load_file

        self.directory = directory
        self.modes: Mapping[str, str] = content["normalization_mapping"]
        known = needed or (directory / PREPROCESSOR).is_file()
        steps = read_json(directory / PREPROCESSOR)["steps"] if known else []
        step = next((step for step in steps if step.get("registry_name") in NORMALIZERS), {})
        if needed and "state_file" not in step:
            raise CheckpointError(
                f"{directory}/{PREPROCESSOR}: no normaliser with statistics in it. LeRobot before 0.4 kept them in the "
                "weights: convert the policy with LeRobot's migrate_policy_normalization first."
            )
        self.values = load_file(directory / step["state_file"]) if "state_file" in step else {}

    def knows(self, name: str) -> bool:
        """Return whether there are all statistics of something, each finite."""
        found = [self.values.get(f"{name}.{statistic}") for statistic in ("mean", "std", "min", "max")]
        return all(value is not None and bool(value.isfinite().all()) for value in found)

    def affine(self, name: str, kind: str) -> tuple[Tensor, Tensor]:
        """Return (mean, std) such that (value - mean) / std is what the network saw, each flat.

        Raises:
            CheckpointError: a statistic is missing, or it is normalised in another way.
        """
        mode = self.modes.get(kind, "IDENTITY")
        if mode == "MEAN_STD":
            return self.of(name, "mean"), self.of(name, "std").clamp(min=EPSILON)
        if mode == "MIN_MAX":
            low, high = self.of(name, "min"), self.of(name, "max")
            half = (high - low) / 2
            return low + half, torch.where(half == 0, torch.full_like(half, EPSILON / 2), half)
        if mode == "IDENTITY":
            like = self.of(name, "mean")
            return torch.zeros_like(like), torch.ones_like(like)
        raise CheckpointError(
            f"{self.directory}: {name} is normalised by {mode}; MEAN_STD, MIN_MAX and IDENTITY are known."
        )

    def of(self, name: str, statistic: str) -> Tensor:
        """Return one statistic, flat."""
        found = self.values.get(f"{name}.{statistic}")
        if found is None:
            raise CheckpointError(
                f"{self.directory}: no {statistic} of {name} among the statistics. "
                "Was the policy saved with those of its data?"
            )
        return found.flatten().float()


class Theirs:
    """A config.json of LeRobot, asked for what we need.

    Args:
        directory: ``pretrained_model``.
        content: of the file.
        scales: the statistics beside it.
        tokenizer: directory or hub id of that of its words; "" is the one that its settings name.

    Raises:
        CheckpointError: the policy reads or writes something that we do not.
    """

    def __init__(self, directory: Path, content: Mapping[str, Any], scales: Scales, tokenizer: str = "") -> None:
        self.directory, self.content, self.scales = directory, content, scales
        self.tokenizer = tokenizer
        inputs = content["input_features"]
        images = [name for name in inputs if name.startswith(ONE_IMAGE)]
        self.images = [name for name in images if not name.startswith(EMPTY)]
        self.cameras = {
            name.removeprefix(IMAGES).removeprefix("observation."): (*inputs[name]["shape"][1:],)
            for name in self.images
        }
        others = set(inputs) - {STATE, *images}
        if others or not self.cameras:
            raise CheckpointError(
                f"{directory}/config.json: it sees {', '.join(inputs)}. Policies that see "
                f"{IMAGES}<camera> and {STATE}, and nothing else, can be taken over."
            )
        self.state_size = inputs[STATE]["shape"][0] if STATE in inputs else 0
        self.action_size = content["output_features"][ACTION]["shape"][0]

    def resnet(self, norm: Literal["frozen", "group"]) -> ResnetConfig:
        """Return the settings of the network that looks.

        Raises:
            CheckpointError: we do not have that one.
        """
        name = self.content["vision_backbone"]
        if name not in RESNETS or self.content.get("replace_final_stride_with_dilation"):
            how = " with a dilated last stage" if name in RESNETS else ""
            raise CheckpointError(
                f"{self.directory}/config.json: vision_backbone {name!r}{how}; {', '.join(RESNETS)} can be taken over, "
                "undilated."
            )
        depths, block = RESNETS[name]
        widths = (64, 128, 256, 512) if block == "basic" else (256, 512, 1024, 2048)
        return ResnetConfig(norm=norm, random=ResnetSizes(image=64, stem=64, widths=widths, depths=depths, block=block))

    def foreign(self, policy: PolicyConfig, weights: dict[str, Tensor], notes: Sequence[str] = ()) -> Foreign:
        """Return the policy with its statistics among the weights."""
        pixels = [self.scales.affine(name, "VISUAL") for name in self.images]
        weights["network.scene.trunk.mean"] = torch.stack([mean for mean, _ in pixels])
        weights["network.scene.trunk.std"] = torch.stack([std for _, std in pixels])
        weights |= self.norms()
        return self.known(policy, weights, notes)

    def norms(self) -> dict[str, Tensor]:
        """Return the statistics of state and action, by our names."""
        found: dict[str, Tensor] = {}
        for ours, theirs, kind in (("state", STATE, "STATE"), ("action", ACTION, "ACTION")):
            if ours == "action" or self.state_size:
                found[f"normalizer.{ours}_mean"], found[f"normalizer.{ours}_std"] = self.scales.affine(theirs, kind)
        return found

    def known(self, policy: PolicyConfig, weights: Mapping[str, Tensor], notes: Sequence[str] = ()) -> Foreign:
        """Return the policy with these weights, which hold its statistics."""
        low, high = (tuple(self.scales.of(ACTION, name).tolist()) for name in ("min", "max"))
        return Foreign(policy, self.cameras, self.state_size, self.action_size, low, high, weights, tuple(notes))
