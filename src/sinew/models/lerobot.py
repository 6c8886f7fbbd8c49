"""Policies that LeRobot trained, as ours: settings, robot and weights of a ``pretrained_model`` directory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from sinew.core.errors import CheckpointError
from sinew.core.files import read_json
from sinew.models.config import ActHeadConfig, PolicyConfig
from sinew.models.encoder_config import ResnetConfig, ResnetSizes
from sinew.models.heads.config import DiffusionHeadConfig
from sinew.models.lerobot_names import ACT_RULES, diffusion_rules, rename
from sinew.models.unet_config import UnetConfig
from sinew.models.visuomotor_config import CellsConfig, KeypointsConfig

IMAGES, STATE, ACTION = "observation.images.", "observation.state", "action"
ONE_IMAGE = "observation.image"
"""What the only camera may be called."""
PREPROCESSOR, POSTPROCESSOR = "policy_preprocessor.json", "policy_postprocessor.json"
NORMALIZERS = ("normalizer_processor", "unnormalizer_processor")
RESNETS: Mapping[str, tuple[tuple[int, ...], Literal["basic", "bottleneck"]]] = {
    "resnet18": ((2, 2, 2, 2), "basic"),
    "resnet34": ((3, 4, 6, 3), "basic"),
    "resnet50": ((3, 4, 6, 3), "bottleneck"),
}
"""Blocks of each stage, and their kind, of torchvision's residual networks."""

ACT_UNREAD = {"temporal_ensemble_coeff": "acts by averaging chunks over time"}
"""Settings of ACT that are not taken over when set, with what they do."""


@dataclass(frozen=True)
class Foreign:
    """A policy that LeRobot trained, in our terms.

    Attributes:
        policy: settings that build the same network.
        cameras: (height, width) [px] by name.
        state_size: S. action_size: A.
        low: smallest actions it was trained on, (A,). high: largest ones.
        weights: of our ``VLAPolicy`` of these settings, normaliser included.
        notes: what is not taken over, in sentences.
    """

    policy: PolicyConfig
    cameras: Mapping[str, tuple[int, int]]
    state_size: int
    action_size: int
    low: tuple[float, ...]
    high: tuple[float, ...]
    weights: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()


def read_lerobot(directory: Path) -> Foreign:
    """Read a ``pretrained_model`` directory as LeRobot 0.4 writes it: ACT or Diffusion Policy.

    Raises:
        CheckpointError: a file is missing or broken, or the policy is of a kind or has a part that we do not have.
        DataError: a file is not JSON.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    content = read_json(directory / "config.json")
    kind = content.get("type") if isinstance(content, dict) else None
    if kind not in READERS:
        raise CheckpointError(
            f"{directory}/config.json: type {kind!r}. Of LeRobot's policies these can be taken over: "
            f"{', '.join(READERS)}; of smolvla and pi0 parts, with --part vision."
        )
    try:
        weights = load_file(directory / "model.safetensors")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{directory}/model.safetensors: cannot be read ({error}). Copy it again.") from error
    scales = Scales(directory, content)
    config = Theirs(directory, content, scales)
    return READERS[kind](config, weights)


class Scales:
    """The statistics that LeRobot's processors normalise with.

    Args:
        directory: ``pretrained_model``.
        content: of its config.json.

    Raises:
        CheckpointError: they are missing.
    """

    def __init__(self, directory: Path, content: Mapping[str, Any]) -> None:
        from safetensors.torch import load_file

        self.directory = directory
        self.modes: Mapping[str, str] = content["normalization_mapping"]
        steps = read_json(directory / PREPROCESSOR)["steps"]
        step = next((step for step in steps if step.get("registry_name") in NORMALIZERS), None)
        if step is None or "state_file" not in step:
            raise CheckpointError(
                f"{directory}/{PREPROCESSOR}: no normaliser with statistics in it. LeRobot before 0.4 kept them in the "
                "weights: convert the policy with LeRobot's migrate_policy_normalization first."
            )
        self.values = load_file(directory / step["state_file"])

    def affine(self, name: str, kind: str) -> tuple[Tensor, Tensor]:
        """Return (mean, std) such that (value - mean) / std is what the network saw, each flat.

        Raises:
            CheckpointError: a statistic is missing, or it is normalised in another way.
        """
        mode = self.modes.get(kind, "IDENTITY")
        if mode == "MEAN_STD":
            return self.of(name, "mean"), self.of(name, "std")
        if mode == "MIN_MAX":
            low, high = self.of(name, "min"), self.of(name, "max")
            half = (high - low) / 2
            return low + half, torch.where(half == 0, torch.full_like(half, 0.5e-8), half)
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

    Raises:
        CheckpointError: the policy reads or writes something that we do not.
    """

    def __init__(self, directory: Path, content: Mapping[str, Any], scales: Scales) -> None:
        self.directory, self.content, self.scales = directory, content, scales
        inputs = content["input_features"]
        self.images = [name for name in inputs if name.startswith(IMAGES) or name == ONE_IMAGE]
        self.cameras = {
            "image" if name == ONE_IMAGE else name.removeprefix(IMAGES): (*inputs[name]["shape"][1:],)
            for name in self.images
        }
        others = set(inputs) - {STATE, *self.images}
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
        for ours, theirs, kind in (("state", STATE, "STATE"), ("action", ACTION, "ACTION")):
            if ours == "action" or self.state_size:
                weights[f"normalizer.{ours}_mean"], weights[f"normalizer.{ours}_std"] = self.scales.affine(theirs, kind)
        low, high = (tuple(self.scales.of(ACTION, name).tolist()) for name in ("min", "max"))
        return Foreign(policy, self.cameras, self.state_size, self.action_size, low, high, weights, tuple(notes))


def _act(theirs: Theirs, weights: Mapping[str, Tensor]) -> Foreign:
    content = theirs.content
    found = rename(weights, ACT_RULES, str(theirs.directory))
    places = found.pop("network.scene.places")
    found |= {"head.style_position": places[:1], "network.scene.places": places[1:]}
    found["network.scene.cells.weight"] = found["network.scene.cells.weight"].flatten(1)
    head = ActHeadConfig(
        heads=content["n_heads"],
        hidden=content["dim_feedforward"],
        encoder_layers=content["n_encoder_layers"],
        decoder_layers=content["n_decoder_layers"],
        posterior_layers=content["n_vae_encoder_layers"],
        variational=content["use_vae"],
        latent=content["latent_dim"],
        kl=content["kl_weight"],
        dropout=content["dropout"],
        activation=content["feedforward_activation"],
        pre_norm=content["pre_norm"],
    )
    policy = PolicyConfig(
        vision=theirs.resnet("frozen"),
        fusion=CellsConfig(words=False),
        head=head,
        horizon=content["chunk_size"],
        execute=content["n_action_steps"],
        width=content["dim_model"],
        state=theirs.state_size > 0,
    )
    notes = [
        f"{name} {content[name]} is left out: LeRobot {does}, sinew executes chunks."
        for name, does in ACT_UNREAD.items()
        if content.get(name)
    ]
    return theirs.foreign(policy, found, notes)


def _diffusion(theirs: Theirs, weights: Mapping[str, Tensor]) -> Foreign:
    content = theirs.content
    if content["beta_schedule"] != "squaredcos_cap_v2":
        raise CheckpointError(
            f"{theirs.directory}/config.json: beta_schedule {content['beta_schedule']!r}; only squaredcos_cap_v2, the "
            "default, can be taken over."
        )
    separate, ticks = content["use_separate_rgb_encoder_per_camera"], content["n_obs_steps"]
    found = rename(weights, diffusion_rules(len(theirs.cameras) if separate else 0), str(theirs.directory))
    points, ddpm = content["spatial_softmax_num_keypoints"], content["noise_scheduler_type"] == "DDPM"
    head = DiffusionHeadConfig(
        width=1,
        length=content["num_train_timesteps"],
        steps=content["num_inference_steps"] or content["num_train_timesteps"],
        prediction=content["prediction_type"],
        eta=float(ddpm),
        expert="unet",
        unet=UnetConfig(
            tuple(content["down_dims"]),
            content["kernel_size"],
            content["n_groups"],
            content["diffusion_step_embed_dim"],
            content["use_film_scale_modulation"],
        ),
        spacing="leading",
        bounded_noise=ddpm,
        before=ticks - 1,
    )
    crop, size = content["crop_shape"], content.get("resize_shape")
    policy = PolicyConfig(
        vision=theirs.resnet("group" if content["use_group_norm"] else "frozen"),
        fusion=KeypointsConfig(
            keypoints=points,
            words=False,
            size=None if size is None else (size[0], size[1]),
            crop=None if crop is None else (crop[0], crop[1]),
            separate=separate,
        ),
        head=head,
        history=ticks,
        horizon=content["horizon"] - head.before,
        execute=content["n_action_steps"],
        state=theirs.state_size > 0,
    )
    return theirs.foreign(
        policy, found | _unread(theirs, policy, ticks * (theirs.state_size + 2 * points * len(theirs.cameras)))
    )


def _unread(theirs: Theirs, policy: PolicyConfig, width: int) -> dict[str, Tensor]:
    """Return what LeRobot's diffusion has not: the range of the data, and a classifier of two-valued actions."""
    content, size = theirs.content, theirs.action_size
    reach = content["clip_sample_range"] if content["clip_sample"] else math.inf
    flat = policy.horizon * size
    return {
        "head.range.low": torch.full((size,), -reach),
        "head.range.high": torch.full((size,), reach),
        "head.logits.0.weight": torch.zeros(1, width),
        "head.logits.0.bias": torch.zeros(1),
        "head.logits.2.weight": torch.zeros(flat, 1),
        "head.logits.2.bias": torch.zeros(flat),
    }


READERS: dict[str, Callable[[Theirs, Mapping[str, Tensor]], Foreign]] = {"act": _act, "diffusion": _diffusion}
"""Kinds of LeRobot's policies that can be taken over."""
