"""pi0 as LeRobot trained it or took it over from openpi, whole, as a policy of ours: settings, tokenizer, weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sinew.core.errors import CheckpointError
from sinew.models.config import FlowHeadConfig, PolicyConfig
from sinew.models.encoder_config import GemmaConfig, PrefixFusionConfig, SiglipConfig
from sinew.models.interleaved_config import InterleavedConfig
from sinew.models.lerobot_files import Foreign, Theirs
from sinew.models.lerobot_names import PI0_RULES, rename
from sinew.models.lerobot_vlm import (
    READS,
    SEES,
    Below,
    below,
    classifier,
    fixed,
    layers_of,
    with_statistics,
    with_words,
)
from sinew.models.pixels import HALVES, Pixels
from sinew.models.towers import GEMMA_HEAD, PI0, SIZED, gemma_settings, siglip_settings

PUBLISHED = "google/paligemma-3b-pt-224"
"""The vision-language model that pi0 is built on."""
BLACK = -255.0
"""What LeRobot pads images with: it means -1, which is black from -1 to 1, where pixels run from 0 to 1."""
DEFAULTS: Mapping[str, Any] = {
    "min_period": 4e-3,
    "max_period": 4.0,
    "tokenizer_max_length": 48,
    "dtype": "float32",
    "freeze_vision_encoder": False,
    "train_expert_only": False,
    "image_resolution": [224, 224],
}
"""What LeRobot takes for settings that older files lack."""
TIMES: Mapping[str, Any] = {
    "time_sampling_beta_alpha": 1.5,
    "time_sampling_beta_beta": 1.0,
    "time_sampling_scale": 0.999,
    "time_sampling_offset": 0.001,
}
"""Of the noise in training, the only ones that we have."""
BEGIN = "model.paligemma_with_expert.paligemma."
TABLES = ("model.language_model.embed_tokens", "language_model.model.embed_tokens")
"""Names of what embeds words, in newer and older files."""


def read_pi0(theirs: Theirs, weights: Mapping[str, Tensor]) -> Foreign:
    """Return pi0 (Black 2024, arXiv:2410.24164) in our terms.

    Raises:
        CheckpointError: it has a part that we do not have, weights are missing, or there is no tokenizer.
        ConfigError: how many attention heads its tower has is said nowhere.
    """
    theirs.content = content = {**DEFAULTS, **TIMES, **theirs.content}
    where = str(theirs.directory)
    named = {name if name.startswith("model.") else f"model.{name}": value for name, value in weights.items()}
    if not any(f"{BEGIN}{table}.weight" in named for table in TABLES):
        named = with_words(named, f"{BEGIN}lm_head.weight", f"{BEGIN}{TABLES[0]}.weight")
    found = rename(named, PI0_RULES, where)
    _check(theirs, found)
    began = Below(theirs, PUBLISHED)
    vision = siglip_settings(PI0, below(found, SEES), began.heads("vision", below(found, SEES)))
    side = list(content["image_resolution"])
    if side != [vision.image_size] * 2:
        raise CheckpointError(f"{where}/config.json: images come as {side}, its tower sees {vision.image_size} pixels.")
    size = began.said("text", "head_dim") or GEMMA_HEAD
    language = gemma_settings(below(found, READS), size, where)
    # A Gemma's norms keep what they add to 1.
    found |= {name: 1.0 + value.float() for name, value in found.items() if _is_norm(name)}
    head = _head(content, found, size)
    policy = PolicyConfig(
        vision=SiglipConfig(path=began.name, frozen="all" if fixed(content, "freeze_vision_encoder") else 0),
        language=GemmaConfig(
            path=began.name,
            frozen="all" if fixed(content) else 0,
            max_tokens=content["tokenizer_max_length"],
            ending="\n",
        ),
        fusion=PrefixFusionConfig(like="pi0", state=content["max_state_dim"], padding=BLACK),
        head=head,
        horizon=content["chunk_size"],
        execute=content["n_action_steps"],
        width=language.hidden_size,
    )
    pixels = Pixels((vision.image_size, vision.image_size), *HALVES, mode="bilinear")
    blueprints = {
        "vision": {"config": vision.to_dict(), "preprocessor": pixels.to_dict()},
        "language": {"config": language.to_dict()},
    }
    foreign = with_statistics(theirs, policy, found | classifier(policy, head), _notes(theirs, vision.image_size))
    return dataclasses.replace(foreign, tokenizer=began.tokenizer(), blueprints=blueprints)


def _is_norm(name: str) -> bool:
    return name == "head.field.norm.weight" or (
        name.startswith("head.field.blocks.") and name.endswith((".norm.weight", ".norm_mlp.weight"))
    )


def _check(theirs: Theirs, found: Mapping[str, Tensor]) -> None:
    content = theirs.content
    layers, own = (layers_of(found, begin) for begin in (f"{READS}layers.", "head.field.blocks."))
    named = ("embed_tokens", *(f"layers.0.{name}_proj" for name in SIZED))
    wrong = [f"{name} is {content[name]}, {ours} is known" for name, ours in TIMES.items() if content[name] != ours]
    wrong += [f"its language model lacks {name}" for name in named if f"{READS}{name}.weight" not in found]
    if theirs.scales.modes.get("VISUAL", "IDENTITY") != "IDENTITY":
        wrong.append("images are normalised by statistics")
    if not theirs.state_size:
        wrong.append("it feels no state")
    if not layers or own != layers:
        wrong.append(f"its expert has {own} layers, its language model {layers}")
    if wrong:
        raise CheckpointError(
            f"{theirs.directory}/config.json: {'; '.join(wrong)}. Such a pi0 cannot be taken over whole; its parts "
            "can, with --part vision and --part language."
        )


def _head(content: Mapping[str, Any], found: Mapping[str, Tensor], size: int) -> FlowHeadConfig:
    sizes = InterleavedConfig(
        hidden=len(found["head.field.blocks.0.up.weight"]),
        heads=len(found["head.field.blocks.0.query.weight"]) // size,
        every=1,
        padded=content["max_action_dim"],
        periods=(content["min_period"], content["max_period"]),
        like="pi0",
    )
    width = len(found["head.field.norm.weight"])
    steps = content["num_inference_steps"]
    return FlowHeadConfig(width=width, steps=steps, expert="interleaved", interleaved=sizes, times="beta")


def _notes(theirs: Theirs, side: int) -> list[str]:
    notes: list[str] = []
    if theirs.content["dtype"] == "bfloat16":
        notes.append("LeRobot computes it in bfloat16, sinew in float32: chunks are equal to that precision.")
    if any(height != width for height, width in theirs.cameras.values()):
        notes.append(
            f"Images that are not square are padded to {side} x {side} with what LeRobot pads them with, which is "
            "darker than black; openpi pads with black (--policy.fusion.padding 0)."
        )
    return notes
