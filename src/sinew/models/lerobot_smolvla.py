"""SmolVLA as LeRobot trained it, whole, as a policy of ours: settings, tokenizer and weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sinew.core.errors import CheckpointError
from sinew.core.files import read_json
from sinew.models.config import FlowHeadConfig, PolicyConfig
from sinew.models.encoder_config import LlamaConfig, PrefixFusionConfig, SiglipConfig
from sinew.models.interleaved import EPSILON
from sinew.models.interleaved_config import InterleavedConfig
from sinew.models.lerobot_files import ACTION, STATE, Foreign, Theirs
from sinew.models.lerobot_names import SMOLVLA_RULES, rename
from sinew.models.pixels import HALVES, Pixels
from sinew.models.pretrained import fetch
from sinew.models.text_encoders import read_tokenizer
from sinew.models.towers import HEADS, READERS, SMOLVLA, llama_settings, siglip_settings

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SEES, READS = "network.vision.model.", "network.language.model."
PUBLISHED = "HuggingFaceTB/SmolVLM2-500M-Video-Instruct"
"""The vision-language model that SmolVLA is built on."""
FILES = ("*.json", "*.txt", "*.model", "*.jinja")
"""What is fetched of it: all but weights, which SmolVLA brings."""
DEFAULTS: Mapping[str, Any] = {
    "add_image_special_tokens": False,
    "min_period": 4e-3,
    "max_period": 4.0,
    "self_attn_every_n_layers": 2,
    "load_vlm_weights": False,
    "vlm_model_name": PUBLISHED,
}
"""What LeRobot takes for settings that older files lack."""
NOT_OURS = {
    "add_image_special_tokens": "puts words around images",
    "adapt_to_pi_aloha": "turns joints of ALOHA around",
}
"""Settings with which it cannot be taken over, with what they do."""
UNREAD = {
    "rtc_config": "draws chunks that go on where the last one is",
    "compile_model": "compiles the network",
}
"""Settings that are left out, with what they do."""


def read_smolvla(theirs: Theirs, weights: Mapping[str, Tensor]) -> Foreign:
    """Return SmolVLA in our terms.

    Raises:
        CheckpointError: it has a part that we do not have, weights are missing, or there is no tokenizer.
        ConfigError: how many attention heads there are is said nowhere.
    """
    theirs.content = content = {**DEFAULTS, **theirs.content}
    where = str(theirs.directory)
    found = rename(_with_words(weights), SMOLVLA_RULES, where)
    seen, said = _below(found, SEES), _below(found, READS)
    _check(theirs, found)
    name = theirs.tokenizer or content["vlm_model_name"]
    place = _vlm(theirs, name)
    known = read_json(place / "config.json") if (place / "config.json").is_file() else {}
    vision = siglip_settings(SMOLVLA, seen, _heads(theirs, known, "vision", seen))
    language = llama_settings(SMOLVLA, said, _heads(theirs, known, "text", said))
    _check_vlm(theirs, known, vision.image_size)
    if not content["load_vlm_weights"]:
        table = f"{SEES}embeddings.position_embedding.weight"
        found[table] = as_in_single_precision(found[table])
    width = language.hidden_size
    head = _head(content, found, language)
    policy = PolicyConfig(
        vision=SiglipConfig(path=name, frozen="all" if _fixed(content, "freeze_vision_encoder") else 0),
        language=LlamaConfig(
            path=name,
            frozen="all" if _fixed(content) else 0,
            max_tokens=content["tokenizer_max_length"],
            ending="\n",
        ),
        fusion=PrefixFusionConfig(shuffle=_shuffle(found, vision), state=content["max_state_dim"]),
        head=head,
        horizon=content["chunk_size"],
        execute=content["n_action_steps"],
        width=width,
    )
    tokenizer = _tokenizer(place, content["tokenizer_max_length"])
    pixels = Pixels((vision.image_size, vision.image_size), *HALVES, mode="bilinear")
    blueprints = {
        "vision": {"config": vision.to_dict(), "preprocessor": pixels.to_dict()},
        "language": {"config": language.to_dict()},
    }
    found |= _unread(policy, head)
    return dataclasses.replace(_known(theirs, policy, found), tokenizer=tokenizer, blueprints=blueprints)


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
    layers, own = (
        1 + max((int(name.removeprefix(begin).split(".")[0]) for name in found if name.startswith(begin)), default=-1)
        for begin in (f"{READS}layers.", "head.field.blocks.")
    )
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


def _check_vlm(theirs: Theirs, known: Mapping[str, Any], image: int) -> None:
    """Refuse images that are not padded to the tower's square, and norms of another kind."""
    size = theirs.content["resize_imgs_with_padding"]
    sizes = set(theirs.cameras.values()) if size is None else {tuple(size)}
    if sizes != {(image, image)}:
        raise CheckpointError(
            f"{theirs.directory}/config.json: images come as {sorted(sizes)}, its tower sees {image} x {image}. Only "
            "images that are padded to the whole of what it sees can be taken over."
        )
    epsilon = known.get("text_config", {}).get("rms_norm_eps", EPSILON)
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


def _unread(policy: PolicyConfig, head: FlowHeadConfig) -> dict[str, Tensor]:
    """Return what LeRobot's SmolVLA has not: a classifier of two-valued actions, which has yet to learn."""
    assert head.interleaved is not None
    random, width = torch.Generator().manual_seed(0), policy.width
    flat = policy.horizon * (head.interleaved.padded or 0)
    return {
        "head.summary.key.weight": torch.randn(width, width, generator=random) / width,
        "head.summary.query": torch.randn(width, generator=random) / width**0.5,
        "head.logits.0.weight": torch.randn(head.width, width, generator=random) / width**0.5,
        "head.logits.0.bias": torch.zeros(head.width),
        "head.logits.2.weight": torch.zeros(flat, head.width),
        "head.logits.2.bias": torch.zeros(flat),
    }


def _shuffle(found: Mapping[str, Tensor], vision: Any) -> int:  # noqa: ANN401  (of transformers)
    return round((found["network.project.weight"].shape[1] / vision.hidden_size) ** 0.5)


def _heads(theirs: Theirs, known: Mapping[str, Any], part: str, found: Mapping[str, Tensor]) -> int | None:
    """Return attention heads as the vision-language model's config.json says; None where its width alone tells them."""
    said = known.get(f"{part}_config", {}).get("num_attention_heads")
    if said is not None:
        return int(said)
    name, table = ("post_layernorm.weight", HEADS) if part == "vision" else ("norm.weight", READERS)
    width = len(found[name]) if name in found else 0
    if width not in table:
        raise CheckpointError(
            f"{theirs.directory}: its {part} part has a width of {width}, and how many attention heads share it no "
            "weight says. Put the config.json of the vision-language model that it began as beside the tokenizer "
            "(--tokenizer)."
        )
    return None


def _vlm(theirs: Theirs, name: str) -> Path:
    """Return the directory with the tokenizer and, as the case may be, the config.json of the vision-language model."""
    try:
        place = fetch(name, FILES)
        if not any((place / one).is_file() for one in ("tokenizer.json", "tokenizer_config.json")):
            raise CheckpointError(f"{place}: no tokenizer.json")
    except CheckpointError as error:
        raise CheckpointError(
            f"{theirs.directory}: a SmolVLA brings no tokenizer, and there is none at {name}. Name with --tokenizer a "
            f"directory that holds the tokenizer.json and the config.json of {PUBLISHED}, or of what this one began as "
            f"({error})"
        ) from error
    return place


def _tokenizer(place: Path, most: int) -> Tokenizer:
    tokenizer = read_tokenizer(place)
    tokenizer.no_padding()
    tokenizer.enable_truncation(most)
    return tokenizer


def _with_words(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights in which what embeds words is there, also where it was one with the output layer."""
    head, table = (f"model.vlm_with_expert.vlm.{name}.weight" for name in ("lm_head", "model.text_model.embed_tokens"))
    return {**weights, table: weights[head]} if table not in weights and head in weights else dict(weights)


def _below(found: Mapping[str, Tensor], begin: str) -> dict[str, Tensor]:
    return {name.removeprefix(begin): value for name, value in found.items() if name.startswith(begin)}


def _fixed(content: Mapping[str, Any], alone: str = "") -> bool:
    """Return whether the vision-language model, or the part of it that a setting of its own fixes, stays as it is."""
    return bool(content["train_expert_only"] or (alone and content[alone]))


def _known(theirs: Theirs, policy: PolicyConfig, found: dict[str, Tensor]) -> Foreign:
    """Return the policy with its statistics, or with none where it was published to be taught."""
    notes = _notes(theirs.content)
    if theirs.scales.knows(STATE) and theirs.scales.knows(ACTION):
        return theirs.known(policy, found | theirs.norms(), notes)
    for name, size in (("state", theirs.state_size), ("action", theirs.action_size)):
        found |= {f"normalizer.{name}_{which}": torch.full((size,), float("nan")) for which in ("mean", "std")}
    notes.append("It brings no statistics of state and action: it acts once it was taught (sinew train bc --init).")
    return Foreign(policy, theirs.cameras, theirs.state_size, theirs.action_size, (), (), found, tuple(notes))


def _notes(content: Mapping[str, Any]) -> list[str]:
    notes = [f"{name} is left out: LeRobot {does}." for name, does in UNREAD.items() if content.get(name)]
    if content["load_vlm_weights"]:
        notes.append("LeRobot computes it in bfloat16, sinew in float32: chunks are equal to that precision.")
    else:
        notes.append(
            "LeRobot computes it in float32, where transformers 4.57 takes the position of the neighbouring patch: so "
            "they are taken here."
        )
    return notes
