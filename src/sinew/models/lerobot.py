"""Policies that LeRobot trained, as ours: settings, robot and weights of a ``pretrained_model`` directory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from sinew.core.errors import CheckpointError
from sinew.core.files import read_json
from sinew.models.config import ActHeadConfig, PolicyConfig
from sinew.models.heads.config import DiffusionHeadConfig
from sinew.models.lerobot_files import Foreign, Scales, Theirs
from sinew.models.lerobot_names import ACT_RULES, diffusion_rules, rename
from sinew.models.lerobot_pi0 import read_pi0
from sinew.models.lerobot_smolvla import read_smolvla
from sinew.models.unet_config import UnetConfig
from sinew.models.visuomotor_config import CellsConfig, KeypointsConfig

ACT_UNREAD = {"temporal_ensemble_coeff": "acts by averaging chunks over time"}
"""Settings of ACT that are not taken over when set, with what they do."""


def read_lerobot(directory: Path, tokenizer: str = "") -> Foreign:
    """Read a ``pretrained_model`` directory as LeRobot 0.4 writes it: ACT, Diffusion Policy, SmolVLA or pi0.

    Args:
        directory: that LeRobot wrote.
        tokenizer: of a policy that hears words: directory or hub id; "" is the one that its settings name.

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
            f"{', '.join(READERS)}."
        )
    try:
        weights = load_file(directory / "model.safetensors")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{directory}/model.safetensors: cannot be read ({error}). Copy it again.") from error
    scales = Scales(directory, content, needed=kind not in TAUGHT)
    config = Theirs(directory, content, scales, tokenizer)
    return READERS[kind](config, weights)


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


READERS: dict[str, Callable[[Theirs, Mapping[str, Tensor]], Foreign]] = {
    "act": _act,
    "diffusion": _diffusion,
    "smolvla": read_smolvla,
    "pi0": read_pi0,
}
"""Kinds of LeRobot's policies that can be taken over."""
TAUGHT = ("smolvla", "pi0")
"""Those that are published to be taught, without statistics."""
