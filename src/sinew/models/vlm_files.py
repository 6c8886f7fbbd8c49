"""Vision-language models on disk: LLaVA's layout, which transformers reads, or ours where a part has none there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from sinew.core import config as configs
from sinew.core.errors import CheckpointError, SinewError, require
from sinew.core.files import read_json, write_json, write_text
from sinew.models.encoder_config import ClipConfig, SiglipConfig
from sinew.models.encoders import VisionEncoder
from sinew.models.pixels import read_pixels
from sinew.models.pretrained import EXTRA, fetch, quiet
from sinew.models.projector_config import MlpProjectorConfig
from sinew.models.vlm_config import CausalConfig, VlmConfig
from sinew.models.vlm_parts import Parts, Speech, Tokens, build_vision, join, spoken

SCHEMA = 1
OURS = "sinew"
"""Key of config.json under which our own settings stand, beside those of the layout."""
OWN_LAYOUT = "sinew_vlm"
BLUEPRINT = "blueprint"
"""Key, in our layout, of what it takes to build an encoder of transformers again."""
NAMES = ("vision", "projector", "lm")
HEAD = "lm_head.weight"
"""Of a language model whose head is its embedding: kept once."""
NORM = "post_layernorm"
"""What comes behind the last layer of SigLIP and CLIP; LLaVA takes tokens from before it."""
MLP = {"linear_1": "layers.0", "linear_2": "layers.2"}
"""LLaVA's names of the projector's layers, and ours."""


def save_parts(parts: Parts, directory: Path) -> None:
    """Write a model into an existing directory: in LLaVA's layout, which transformers reads, where its parts allow."""
    speech = {name: getattr(parts.speech, name) for name in parts.speech.__dataclass_fields__}
    ours = {"schema_version": SCHEMA, "speech": speech, "config": configs.to_dict(parts.config)}
    if _is_llava(parts):
        with quiet():
            _as_llava(parts).save_pretrained(directory)
        encoder = cast("VisionEncoder", parts.vision)
        content = {"image_processor_type": "SiglipImageProcessor", **encoder.preprocess.pixels.to_dict()}
        write_json(directory / "preprocessor_config.json", content)
        write_json(directory / "config.json", {**read_json(directory / "config.json"), OURS: ours})
    else:
        _save_ours(parts, ours, directory)
    write_text(directory / "tokenizer.json", parts.tokens.tokenizer.to_str(pretty=False))
    names = {"pad_token": parts.speech.pad, "eos_token": parts.speech.end[0]}
    special: dict[str, Any] = {name: parts.tokens.tokenizer.id_to_token(number) for name, number in names.items()}
    special |= {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": parts.tokens.template or None}
    write_json(directory / "tokenizer_config.json", special)


def load_parts(path: str | Path) -> Parts:
    """Return the model of a directory that ``save_parts`` wrote, or of a directory or hub id in LLaVA's layout.

    Raises:
        CheckpointError: there is none, or its files do not fit together.
    """
    place = fetch(str(path))
    if not (place / "config.json").is_file():
        raise CheckpointError(f"{place}: no config.json. Name a directory in LLaVA's layout, or a checkpoint of ours.")
    content: dict[str, Any] = read_json(place / "config.json")
    ours: dict[str, Any] = content.get(OURS) or {}
    kind = content.get("model_type")
    if kind not in (OWN_LAYOUT, "llava"):
        raise CheckpointError(
            f"{path}: a model of type {kind!r}; llava or one of ours is wanted. "
            "Name its parts instead: --vlm.vision.path and --vlm.language.path."
        )
    if ours and ours.get("schema_version") != SCHEMA:
        raise CheckpointError(f"{place}: schema {ours.get('schema_version')}, this sinew reads {SCHEMA}.")
    try:
        with quiet():
            return (_load_ours if kind == OWN_LAYOUT else _load_llava)(place, content, ours)
    except SinewError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, AttributeError, TypeError) as error:
        first = str(error).partition("\n")[0]
        raise CheckpointError(f"{path}: its files do not fit together ({first}). Take all of one model.") from error


def _is_llava(parts: Parts) -> bool:
    """Return whether transformers' Llava has room for all parts; its last layer comes before SigLIP's last norm."""
    vision = parts.config.vision
    known = isinstance(vision, ClipConfig) or (
        isinstance(vision, SiglipConfig) and (vision.layer != -1 or _is_bare(cast("VisionEncoder", parts.vision)))
    )
    return known and isinstance(parts.config.projector, MlpProjectorConfig) and parts.config.projector.hidden == 1.0


def _is_bare(vision: VisionEncoder) -> bool:
    return isinstance(getattr(vision.model, NORM, None), nn.Identity)


def _as_llava(parts: Parts) -> Any:  # noqa: ANN401  (transformers' Llava)
    """Return transformers' own model with the same weights; layers that are never used are fresh ones there."""
    transformers = require("transformers", extra=EXTRA)
    vision, lm = cast("VisionEncoder", parts.vision), cast("Any", parts.lm)
    config = transformers.LlavaConfig(
        vision_config=vision.settings,
        text_config=lm.config,
        image_token_index=parts.speech.image,
        image_seq_length=vision.grid[0] * vision.grid[1],
        vision_feature_layer=cast("SiglipConfig", parts.config.vision).layer,
        vision_feature_select_strategy="default" if vision.extra else "full",
        tie_word_embeddings=lm.config.tie_word_embeddings,
    )
    state = torch.get_rng_state()
    whole = transformers.LlavaForConditionalGeneration(config)
    torch.set_rng_state(state)
    tower, projector = whole.model.vision_tower, whole.model.multi_modal_projector
    tower.load_state_dict(vision.model.state_dict(), strict=False)
    projector.load_state_dict(_renamed(parts.projector.state_dict(), {ours: name for name, ours in MLP.items()}))
    whole.model.language_model, whole.lm_head = lm.get_decoder(), lm.get_output_embeddings()
    return whole


def _load_llava(place: Path, content: Mapping[str, Any], ours: Mapping[str, Any]) -> Parts:
    transformers = require("transformers", extra=EXTRA)
    whole = transformers.LlavaForConditionalGeneration.from_pretrained(
        place, dtype=torch.float32, use_safetensors=True, local_files_only=True
    )
    config, inner = whole.config, whole.model
    lm = transformers.AutoModelForCausalLM.from_config(config.text_config)
    setattr(lm, lm.base_model_prefix, inner.language_model)
    lm.set_output_embeddings(whole.lm_head)
    made = configs.from_dict(VlmConfig, ours["config"], str(place)) if ours else _described(config)
    blueprint = {"config": config.vision_config.to_dict(), "preprocessor": read_pixels(place).to_dict()}
    vision = cast("VisionEncoder", build_vision(made, blueprint))
    if hasattr(vision.model, NORM):
        vision.model.set_submodule(NORM, nn.Identity())
    weights = inner.vision_tower.state_dict()
    vision.model.load_state_dict({name: weights[name] for name in vision.model.state_dict()})
    projector = join(made, vision, config.text_config.hidden_size)
    projector.load_state_dict(_renamed(inner.multi_modal_projector.state_dict(), MLP))
    tokens, speech = spoken(transformers.AutoTokenizer.from_pretrained(place, local_files_only=True))
    return Parts(made, vision, projector, lm, tokens, Speech(**_tuples(ours["speech"])) if ours else speech)


def _described(config: Any) -> VlmConfig:  # noqa: ANN401  (transformers' LlavaConfig)
    """Return our settings of a foreign model.

    Raises:
        CheckpointError: it has something that ours do not.
    """
    kind = config.vision_config.model_type
    known = {"siglip_vision_model": SiglipConfig, "clip_vision_model": ClipConfig}
    if kind not in known or not isinstance(config.vision_feature_layer, int):
        raise CheckpointError(
            f"a Llava that sees with {kind}, layers {config.vision_feature_layer}: one layer of one of "
            f"{', '.join(known)} is read here."
        )
    return VlmConfig(vision=known[kind](layer=config.vision_feature_layer), language=CausalConfig())


def _save_ours(parts: Parts, ours: Mapping[str, Any], directory: Path) -> None:
    from safetensors.torch import save_file

    settings = cast("Any", parts.lm).config.to_dict()
    blueprint = parts.vision.blueprint() if isinstance(parts.vision, VisionEncoder) else None
    content = {"model_type": OWN_LAYOUT, OURS: {**ours, BLUEPRINT: blueprint}, "text_config": settings}
    write_json(directory / "config.json", content)
    weights = {
        f"{name}.{key}": value.contiguous()
        for name in NAMES
        for key, value in getattr(parts, name).state_dict().items()
        if not (name == "lm" and key == HEAD and settings["tie_word_embeddings"])
    }
    save_file(weights, directory / "model.safetensors")


def _load_ours(place: Path, content: Mapping[str, Any], ours: Mapping[str, Any]) -> Parts:
    from safetensors.torch import load_file
    from tokenizers import Tokenizer

    transformers = require("transformers", extra=EXTRA)
    made = configs.from_dict(VlmConfig, ours["config"], str(place / "config.json"))
    vision = build_vision(made, ours[BLUEPRINT])
    settings = dict(content["text_config"])
    lm = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(settings.pop("model_type"), **settings)
    )
    template = read_json(place / "tokenizer_config.json").get("chat_template") or ""
    tokens = Tokens(Tokenizer.from_file(str(place / "tokenizer.json")), template)
    projector = join(made, vision, lm.config.hidden_size)
    parts = Parts(made, vision, projector, lm, tokens, Speech(**_tuples(ours["speech"])))
    weights = load_file(place / "model.safetensors")
    for name in NAMES:
        own = {key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")}
        if name == "lm" and lm.config.tie_word_embeddings:
            own[HEAD] = own["model.embed_tokens.weight"]
        getattr(parts, name).load_state_dict(own)
    return parts


def _renamed(weights: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Return weights with the first part of their names exchanged."""
    return {
        next((new + key.removeprefix(old) for old, new in names.items() if key.startswith(f"{old}.")), key): value
        for key, value in weights.items()
    }


def _tuples(speech: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in speech.items()}
