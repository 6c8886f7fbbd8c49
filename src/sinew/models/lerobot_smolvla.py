"""SmolVLA as LeRobot trained it, whole, as a policy of ours: settings, tokenizer and weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sinew.core.errors import CheckpointError
from sinew.models.config import FlowHeadConfig, PolicyConfig
from sinew.models.encoder_config import LlamaConfig, PrefixFusionConfig, SiglipConfig
from sinew.models.interleaved import EPSILON
from sinew.models.interleaved_config import InterleavedConfig
from sinew.models.lerobot_files import Foreign, Theirs
from sinew.models.lerobot_names import SMOLVLA_RULES, rename
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
from sinew.models.towers import SMOLVLA, llama_settings, siglip_settings

PUBLISHED = "HuggingFaceTB/SmolVLM2-500M-Video-Instruct"
"""The vision-language model that SmolVLA is built on."""
DEFAULTS: Mapping[str, Any] = {
    "add_image_special_tokens": False,
    "min_period": 4e-3,
    "max_period": 4.0,
    "self_attn_every_n_layers": 2,
    "load_vlm_weights": False,
    "vlm_model_name": PUBLISHED,
}
"""What LeRobot takes for settings that older files lack."""
_VLM = "model.vlm_with_expert.vlm."
WORDS = (f"{_VLM}lm_head.weight", f"{_VLM}model.text_model.embed_tokens.weight")
"""Names of the output layer and of what embeds words."""
NOT_OURS = {
    "add_image_special_tokens": "puts words around images",
    "adapt_to_pi_aloha": "turns joints of ALOHA around",
}
"""Settings with which it cannot be taken over, with what they do."""


def read_smolvla(theirs: Theirs, weights: Mapping[str, Tensor]) -> Foreign:
    """Return SmolVLA in our terms.

    Raises:
        CheckpointError: it has a part that we do not have, weights are missing, or there is no tokenizer.
        ConfigError: how many attention heads there are is said nowhere.
    """
    theirs.content = content = {**DEFAULTS, **theirs.content}
    where = str(theirs.directory)
    found = rename(with_words(weights, *WORDS), SMOLVLA_RULES, where)
    seen, said = below(found, SEES), below(found, READS)
    _check(theirs, found)
    began = Below(theirs, PUBLISHED)
    vision = siglip_settings(SMOLVLA, seen, began.heads("vision", seen))
    language = llama_settings(SMOLVLA, said, began.heads("text", said))
    _check_vlm(theirs, began, vision.image_size)
    if not content["load_vlm_weights"]:
        table = f"{SEES}embeddings.position_embedding.weight"
        found[table] = as_in_single_precision(found[table])
    width = language.hidden_size
    head = _head(content, found, language)
    policy = PolicyConfig(
        vision=SiglipConfig(path=began.name, frozen="all" if fixed(content, "freeze_vision_encoder") else 0),
        language=LlamaConfig(
            path=began.name,
            frozen="all" if fixed(content) else 0,
            max_tokens=content["tokenizer_max_length"],
            ending="\n",
        ),
        fusion=PrefixFusionConfig(shuffle=_shuffle(found, vision), state=content["max_state_dim"]),
        head=head,
        horizon=content["chunk_size"],
        execute=content["n_action_steps"],
        width=width,
    )
    pixels = Pixels((vision.image_size, vision.image_size), *HALVES, mode="bilinear")
    blueprints = {
        "vision": {"config": vision.to_dict(), "preprocessor": pixels.to_dict()},
        "language": {"config": language.to_dict()},
    }
    foreign = with_statistics(theirs, policy, found | classifier(policy, head), [_note(content)])
    return dataclasses.replace(foreign, tokenizer=began.tokenizer(), blueprints=blueprints)


def as_in_single_precision(table: Tensor) -> Tensor:
    """Return positions (N, D) of patches in the order in which transformers 4.57 takes them in single precision.

    It rounds the place of every patch but the first of a row or column down to that of its neighbour. In bfloat16, in
    which LeRobot computes with ``load_vlm_weights``, nothing is lost and each has its own.
    """
    side = round(len(table) ** 0.5)
    places = (torch.arange(side) - 1).clamp(min=0)
    return table.unflatten(0, (side, side))[places][:, places].flatten(0, 1)


def _check(theirs: Theirs, found: Mapping[str, Tensor]) -> None:
    content, where = theirs.content, f"{theirs.directory}/config.json"
    layers, own = (layers_of(found, begin) for begin in (f"{READS}layers.", "head.field.blocks."))
    wrong = [f"{name} is set, which {does}" for name, does in NOT_OURS.items() if content.get(name)]
    if theirs.scales.modes.get("VISUAL", "IDENTITY") != "IDENTITY":
        wrong.append("images are normalised by statistics")
    if not theirs.state_size:
        wrong.append("it feels no state")
    if not layers or own != layers:
        wrong.append(f"its expert has {own} layers, its language model {layers}")
    if wrong:
        raise CheckpointError(
            f"{where}: {'; '.join(wrong)}. Such a SmolVLA cannot be taken over whole; its parts can, with "
            "--part vision and --part language."
        )


def _check_vlm(theirs: Theirs, began: Below, image: int) -> None:
    """Refuse images that are not padded to the tower's square, and norms of another kind."""
    size = theirs.content["resize_imgs_with_padding"]
    sizes = set(theirs.cameras.values()) if size is None else {tuple(size)}
    if sizes != {(image, image)}:
        raise CheckpointError(
            f"{theirs.directory}/config.json: images come as {sorted(sizes)}, its tower sees {image} x {image}. Only "
            "images that are padded to the whole of what it sees can be taken over."
        )
    epsilon = began.said("text", "rms_norm_eps") or EPSILON
    if epsilon != EPSILON:
        raise CheckpointError(f"{theirs.directory}: norms with {epsilon:g}, {EPSILON:g} can be taken over.")


def _head(content: Mapping[str, Any], found: Mapping[str, Tensor], language: Any) -> FlowHeadConfig:  # noqa: ANN401
    crossed, every = "cross" in content["attention_mode"], content["self_attn_every_n_layers"]
    sizes = InterleavedConfig(
        hidden=len(found["head.field.blocks.0.up.weight"]),
        heads=language.num_attention_heads,
        every=max(0, every) if crossed else 1,
        padded=content["max_action_dim"],
        periods=(content["min_period"], content["max_period"]),
    )
    width = len(found["head.field.norm.weight"])
    return FlowHeadConfig(
        width=width, steps=content["num_steps"], expert="interleaved", interleaved=sizes, times="beta"
    )


def _shuffle(found: Mapping[str, Tensor], vision: Any) -> int:  # noqa: ANN401  (of transformers)
    return round((found["network.project.weight"].shape[1] / vision.hidden_size) ** 0.5)


def _note(content: Mapping[str, Any]) -> str:
    if content["load_vlm_weights"]:
        return "LeRobot computes it in bfloat16, sinew in float32: chunks are equal to that precision."
    return (
        "LeRobot computes it in float32, where transformers 4.57 takes the position of the neighbouring patch: so "
        "they are taken here."
    )
