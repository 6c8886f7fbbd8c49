"""Tiny models in the real Hugging Face layout, written by the ``save_pretrained`` of ``transformers`` itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from sinew.models.encoder_config import CAUSAL
from sinew.models.pretrained import quiet, transformers_class

SENTENCES = ["go to the left thing", "touch the right thing", "put it down"]
BODY = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
EYES = {**BODY, "image_size": 16, "patch_size": 4}


def write(model: Any, place: Path, pixels: dict[str, Any] | None = None) -> Any:  # noqa: ANN401
    """Save a model of ``transformers`` and, for one that sees, its preprocessor_config.json; return the model."""
    with quiet():
        model.eval().save_pretrained(place)
    if pixels is not None:
        (place / "preprocessor_config.json").write_text(json.dumps(pixels))
    return model


def pixels(size: Any = 16, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a preprocessor_config.json with odd colours."""
    size = {"height": size, "width": size} if isinstance(size, int) else size
    return {"size": size, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.25, 0.2], "resample": 3, **more}


def vision(kind: str, place: Path, **more: Any) -> Any:  # noqa: ANN401
    """Write a seeded vision model of that kind and return it."""
    torch.manual_seed(5)
    if kind == "resnet":
        settings = transformers_class("resnet", "ResNetConfig")(
            embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic"
        )
        return write(transformers_class("resnet", "ResNetModel")(settings), place, pixels())
    if kind.startswith("dinov2"):
        sizes = {name: value for name, value in EYES.items() if name != "intermediate_size"}
        name = "Dinov2WithRegisters" if kind == "dinov2_with_registers" else "Dinov2"
        settings = transformers_class(kind, f"{name}Config")(**sizes, mlp_ratio=2, **more)
        return write(transformers_class(kind, f"{name}Model")(settings), place, pixels())
    names = {"siglip": ("SiglipVision", "siglip"), "clip": ("CLIPVision", "clip"), "vit": ("ViT", "vit")}
    name, module = names[kind]
    settings = transformers_class(module, f"{name}Config")(**EYES, **more)
    return write(transformers_class(module, f"{name}Model")(settings), place, pixels())


def byte_tokenizer(kind: str) -> Tokenizer:
    """Return a small byte-pair tokenizer that puts the special tokens of that kind of model around a sentence."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    causal = kind in CAUSAL
    special = (
        ["<|endoftext|>"] if causal else {"bert": ["[PAD]", "[CLS]", "[SEP]"], "clip_text": ["<bos>", "<eos>"]}[kind]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, show_progress=False, initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
    if not causal:
        around = [(name, tokenizer.token_to_id(name)) for name in special[-2:]]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{special[-2]} $A {special[-1]}", special_tokens=around
        )
    return tokenizer


def text(kind: str, place: Path) -> Any:  # noqa: ANN401
    """Write a seeded language model of that kind with its tokenizer and return it; causal ones speak."""
    torch.manual_seed(6)
    names = {name.lower(): (name.lower(), name, "ForCausalLM") for name in ("Qwen2", "Llama", "Gemma")}
    names |= {"bert": ("bert", "Bert", "ForMaskedLM")}
    module, name, task = names.get(kind, ("clip", "CLIPText", "Model"))
    special = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1} if kind == "clip_text" else {}
    more = {"num_key_value_heads": 1} if kind in CAUSAL else special
    if kind == "gemma":
        more["head_dim"] = BODY["hidden_size"] // BODY["num_attention_heads"]
    settings = transformers_class(module, f"{name}Config")(**BODY, vocab_size=304, max_position_embeddings=40, **more)
    model = write(transformers_class(module, f"{name}{task}")(settings), place)
    byte_tokenizer(kind).save(str(place / "tokenizer.json"))
    return model
