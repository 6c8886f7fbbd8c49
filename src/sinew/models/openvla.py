"""OpenVLA in the layout of Hugging Face, whole, as a policy of ours: settings, tokenizer and weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sinew.core.errors import CheckpointError, ConfigError
from sinew.core.files import read_json
from sinew.models.config import PolicyConfig
from sinew.models.encoder_config import (
    Dinov2RegistersConfig,
    LlamaConfig,
    LmFusionConfig,
    PrismaticConfig,
    SiglipConfig,
)
from sinew.models.heads.config import AutoregressiveHeadConfig
from sinew.models.lerobot_files import Foreign
from sinew.models.pixels import Pixels
from sinew.models.pretrained import transformers_class
from sinew.models.projector_config import MlpProjectorConfig
from sinew.models.text_encoders import read_tokenizer
from sinew.models.towers import HEADS, OPENVLA, from_timm, siglip_settings, weights_in

TEMPLATE = "In: What action should the robot take to {}?\nOut:"
"""What it was told in training, with the task in small letters."""
BEGIN = 29871
"""Llama's word for nothing, behind which the actions stand."""
CAMERA = "image"
"""What its only camera is called here."""
DINO = {
    "cls_token": "embeddings.cls_token",
    "reg_token": "embeddings.register_tokens",
    "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
    "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
    "norm.weight": "layernorm.weight",
    "norm.bias": "layernorm.bias",
}
"""Names of timm and of ``transformers`` for a DINOv2 with registers, beside its layers."""
LAYER = {"attn.proj": "attention.o_proj", "ls1": "layer_scale1", "ls2": "layer_scale2"}
TEXT: Mapping[str, Any] = {
    "num_attention_heads": 32,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
    "max_position_embeddings": 2048,
}
"""What transformers 4.40, with which it was published, takes where its settings say nothing of its language model."""
KNOWN: Mapping[str, Any] = {
    "arch_specifier": "no-align+fused-gelu-mlp",
    "image_resize_strategy": "resize-naive",
    "use_fused_vision_backbone": True,
}
"""The only settings with which it can be taken over."""


def read_openvla(directory: Path, dataset: str = "") -> Foreign:
    """Return OpenVLA (Kim 2024, arXiv:2406.09246) in our terms.

    Args:
        directory: with config.json, preprocessor_config.json, tokenizer.json and safetensors.
        dataset: whose statistics scale its actions; "" where there is one only.

    Raises:
        CheckpointError: a file or weights are missing, or it is built otherwise than the published one.
        ConfigError: there are several data sets and none was named, or the heads of a tower are not known.
    """
    content = read_json(directory / "config.json")
    wrong = [f"{name} is {content.get(name)!r}, {ours!r} is known" for name, ours in KNOWN.items()
             if content.get(name) != ours]  # fmt: skip
    if wrong or (content.get("text_config") or {}).get("model_type", "llama") != "llama":
        raise CheckpointError(
            f"{directory}/config.json: {'; '.join(wrong) or 'its language model is no Llama'}. Only models that are "
            "built as openvla/openvla-7b can be taken over whole; parts of others can, with --part."
        )
    parts = _parts(directory)
    low, high, masked = _scale(directory, content, dataset)
    dino, siglip, language = _settings(directory, content, parts)
    colours = _colours(directory, dino.image_size)
    patches = (dino.image_size // dino.patch_size) ** 2
    longest = min(content["llm_max_length"], language.max_position_embeddings) - patches - 1 - len(low)
    width, bins = language.hidden_size, content["n_action_bins"]
    head = AutoregressiveHeadConfig(bins=bins, top=True, smooth=0.0, decoder="lm")
    policy = PolicyConfig(
        vision=PrismaticConfig(dino=Dinov2RegistersConfig(layer=-2), siglip=SiglipConfig(layer=-2)),
        language=LlamaConfig(path=content["hf_llm_id"], max_tokens=longest, template=TEMPLATE),
        projector=MlpProjectorConfig(
            widened=len(parts["project"]["layers.0.weight"]) / (dino.hidden_size + siglip.hidden_size)
        ),
        fusion=LmFusionConfig(after=1),
        head=head,
        horizon=1,
        execute=1,
        width=width,
        state=False,
    )
    first = language.vocab_size - content["pad_to_multiple_of"] - bins
    found = {
        f"network.{name}.{key}": value for name, part in parts.items() if name != "say" for key, value in part.items()
    }
    found["network.vision.dino.model.embeddings.mask_token"] = torch.zeros(1, dino.hidden_size)
    found["network.view"] = torch.zeros(1, 1, width)
    found |= _head(head, len(low), parts["language.model"]["embed_tokens.weight"], parts["say"]["weight"], first)
    # Where the mask is off, OpenVLA says actions as they are.
    mean, std = torch.where(masked, (low + high) / 2, 0.0), torch.where(masked, (high - low) / 2, 1.0)
    found |= {"normalizer.action_mean": mean, "normalizer.action_std": std}
    found |= {f"normalizer.state_{name}": torch.zeros(0) for name in ("mean", "std")}
    blueprints = {
        "vision": {
            "dinov2_with_registers": {"config": dino.to_dict(), "preprocessor": colours[0].to_dict()},
            "siglip": {"config": siglip.to_dict(), "preprocessor": colours[1].to_dict()},
        },
        "language": {"config": language.to_dict()},
    }
    cut = {name: value for name, value in found.items() if not _is_cut(name, dino, siglip)}
    cameras = {CAMERA: (dino.image_size, dino.image_size)}
    ends = (tuple((mean - std).tolist()), tuple((mean + std).tolist()))
    tokenizer = read_tokenizer(directory)
    tokenizer.no_padding()
    note = "OpenVLA computes in bfloat16, sinew in float32; only words that mean actions are said here."
    return Foreign(policy, cameras, 0, len(low), *ends, cut, (note,), tokenizer, blueprints)


def is_openvla(directory: Path) -> bool:
    """Return whether a directory holds an OpenVLA in the layout of Hugging Face."""
    path = directory / "config.json"
    return path.is_file() and read_json(path).get("model_type") == "openvla"


def _parts(directory: Path) -> dict[str, dict[str, Tensor]]:
    """Return weights by part of our network and name within it; ``say`` is the language model's output layer."""
    parts: dict[str, dict[str, Tensor]] = {
        name: {} for name in ("vision.dino.model", "vision.siglip.model", "project", "language.model", "say")
    }
    unknown: list[str] = []
    for name, weight in weights_in(directory):
        value = weight[:].float()
        if found := re.fullmatch(r"vision_backbone\.featurizer\.(.+)", name):
            parts["vision.dino.model"] |= from_timm_dino(found[1], value)
        elif found := re.fullmatch(r"vision_backbone\.fused_featurizer\.(.+)", name):
            parts["vision.siglip.model"] |= from_timm(found[1], value)
        elif found := re.fullmatch(r"projector\.fc([123])\.(.+)", name):
            parts["project"][f"layers.{2 * int(found[1]) - 2}.{found[2]}"] = value
        elif found := re.fullmatch(r"language_model\.model\.(.+)", name):
            parts["language.model"][found[1]] = value
        elif found := re.fullmatch(r"language_model\.lm_head\.(.+)", name):
            parts["say"][found[1]] = value
        else:
            unknown.append(name)
    wanted = {"vision.dino.model": DINO["cls_token"], "project": "layers.4.weight", "say": "weight"}
    wanted |= {"language.model": "embed_tokens.weight", "vision.siglip.model": "embeddings.patch_embedding.weight"}
    missing = [f"{part}.{name}" for part, name in wanted.items() if name not in parts[part]]
    if unknown or missing:
        what = f"{len(unknown)} weights are not known, such as {unknown[0]}" if unknown else f"no {', '.join(missing)}"
        raise CheckpointError(f"{directory}: {what}. Copy all files of an OpenVLA in the layout of Hugging Face.")
    return parts


def from_timm_dino(name: str, value: Tensor) -> dict[str, Tensor]:
    """Return a weight of timm's DINOv2 with registers under the names of ``transformers``; what it joins is split."""
    if name == "pos_embed":  # of patches alone; there the class has a place, too
        return {"embeddings.position_embeddings": torch.cat([torch.zeros_like(value[:, :1]), value], dim=1)}
    if name in DINO:
        return {DINO[name]: value}
    if found := re.fullmatch(r"blocks\.(\d+)\.attn\.qkv\.(weight|bias)", name):
        begin = f"encoder.layer.{found[1]}.attention"
        return {f"{begin}.{part}_proj.{found[2]}": piece for part, piece in zip("qkv", value.chunk(3), strict=True)}
    if found := re.fullmatch(r"blocks\.(\d+)\.(ls[12])\.(?:gamma|scale_factor)", name):
        return {f"encoder.layer.{found[1]}.{LAYER[found[2]]}.lambda1": value}
    if found := re.fullmatch(r"blocks\.(\d+)\.(.+)\.(weight|bias)", name):
        return {f"encoder.layer.{found[1]}.{LAYER.get(found[2], found[2])}.{found[3]}": value}
    raise CheckpointError(f"a weight of its DINOv2 is called {name}, which is not known.")


def _settings(
    directory: Path, content: Mapping[str, Any], parts: Mapping[str, Mapping[str, Tensor]]
) -> tuple[Any, Any, Any]:
    """Return the settings of both towers and of the language model, of ``transformers``."""
    dino, llama = parts["vision.dino.model"], parts["language.model"]
    width, _, patch, _ = dino["embeddings.patch_embeddings.projection.weight"].shape
    if width not in HEADS:
        raise ConfigError(
            f"{directory}: its DINOv2 has a width of {width}, and how many attention heads share it no weight says; "
            f"known are {', '.join(f'{heads} for {wide}' for wide, heads in HEADS.items())}."
        )
    places = dino["embeddings.position_embeddings"].shape[1] - 1
    first = transformers_class("dinov2_with_registers", "Dinov2WithRegistersConfig")(
        hidden_size=width,
        num_hidden_layers=_count(dino, "encoder.layer."),
        num_attention_heads=HEADS[width],
        mlp_ratio=len(dino["encoder.layer.0.mlp.fc1.weight"]) // width,
        image_size=round(places**0.5) * patch,
        patch_size=patch,
        num_register_tokens=dino["embeddings.register_tokens"].shape[1],
    )
    said = {**TEXT, **{name: value for name, value in (content.get("text_config") or {}).items() if name in TEXT}}
    words, inner = llama["embed_tokens.weight"].shape
    size = inner // said["num_attention_heads"]
    language = transformers_class("llama", "LlamaConfig")(
        vocab_size=words,
        hidden_size=inner,
        intermediate_size=len(llama["layers.0.mlp.up_proj.weight"]),
        num_hidden_layers=_count(llama, "layers."),
        num_key_value_heads=len(llama["layers.0.self_attn.k_proj.weight"]) // size,
        **said,
    )
    return first, siglip_settings(OPENVLA, parts["vision.siglip.model"], None), language


def _count(names: Iterable[str], begin: str) -> int:
    return 1 + max(int(name.removeprefix(begin).split(".")[0]) for name in names if name.startswith(begin))


def _colours(directory: Path, side: int) -> tuple[Pixels, Pixels]:
    """Return what each tower wants of its images."""
    content = read_json(directory / "preprocessor_config.json")
    one, two = (
        Pixels((side, side), tuple(mean), tuple(std), mode=mode)
        for mean, std, mode in zip(content["means"], content["stds"], content["interpolations"], strict=True)
    )
    return one, two


def _scale(directory: Path, content: Mapping[str, Any], dataset: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return the least and the greatest action, and which of them are scaled so, each (A,)."""
    beside = directory / "dataset_statistics.json"
    known = {**(content.get("norm_stats") or {}), **(read_json(beside) if beside.is_file() else {})}
    name = dataset or (next(iter(known)) if len(known) == 1 else "")
    if name not in known:
        raise ConfigError(
            f"{directory}: {f'no statistics of {dataset!r}' if dataset else 'statistics of several data sets'}. Name "
            f"with --dataset whose actions it is to say: {', '.join(known) or 'there are none, fine-tune it first'}."
        )
    action = known[name]["action"]
    low, high = (torch.tensor(action[end], dtype=torch.float32) for end in ("q01", "q99"))
    return low, high, torch.tensor(action.get("mask", [True] * len(low)))


def _head(head: AutoregressiveHeadConfig, size: int, words: Tensor, says: Tensor, first: int) -> dict[str, Tensor]:
    """Return the head: its tokens are the last words of the language model, the greatest action the first of them."""
    width, ids = words.shape[1], torch.arange(first + head.bins - 1, first - 1, -1)
    return {
        "head.embed.weight": torch.cat([words[ids], words[BEGIN][None]]),
        "head.place.weight": torch.zeros(size, width),
        "head.read.weight": says[ids],
        "head.read.bias": torch.zeros(head.bins),
        "head.tokens.range.low": torch.full((size,), -1.0),
        "head.tokens.range.high": torch.full((size,), 1.0),
        "head.summary.key.weight": torch.zeros(width, width),
        "head.summary.query": torch.zeros(width),
        "head.logits.0.weight": torch.zeros(head.width, width),
        "head.logits.0.bias": torch.zeros(head.width),
        "head.logits.2.weight": torch.zeros(size, head.width),
        "head.logits.2.bias": torch.zeros(size),
    }


def _is_cut(name: str, dino: Any, siglip: Any) -> bool:  # noqa: ANN401  (of transformers)
    """Return whether a weight belongs to what comes after the last layer but one, which nothing reads."""
    return name.startswith(
        (
            f"network.vision.dino.model.encoder.layer.{dino.num_hidden_layers - 1}.",
            "network.vision.dino.model.layernorm.",
            f"network.vision.siglip.model.encoder.layers.{siglip.num_hidden_layers - 1}.",
            "network.vision.siglip.model.post_layernorm.",
        )
    )
