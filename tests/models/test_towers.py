"""Vision towers of large policies see with us what they saw there; what stays behind is named."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.gemma import GemmaConfig as GemmaSettings
from transformers.models.gemma import GemmaModel
from transformers.models.llama import LlamaConfig as LlamaSettings
from transformers.models.llama import LlamaModel

import hub_models
from sinew.cli.main import main
from sinew.core.errors import CheckpointError, ConfigError
from sinew.models.encoder_config import GemmaConfig, LlamaConfig, SiglipConfig
from sinew.models.encoders import VisionEncoder
from sinew.models.text_encoders import TextEncoder, tokenizer_of
from sinew.models.towers import PI0, SMOLVLA, take_language, take_tower

SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 4,
}
OTHERS = {
    "SmolVLA": {
        "model.state_proj.weight": (16, 32),
        "model.action_out_proj.bias": (32,),
        "model.vlm_with_expert.lm_expert.layers.0.mlp.up_proj.weight": (8, 12),
        "model.vlm_with_expert.vlm.lm_head.weight": (20, 16),
        "model.vlm_with_expert.vlm.model.connector.modality_projection.proj.weight": (16, 256),
        "model.vlm_with_expert.vlm.model.text_model.norm.weight": (16,),
    },
    "pi0": {
        "model.action_in_proj.weight": (16, 32),
        "model.paligemma_with_expert.gemma_expert.model.layers.0.mlp.up_proj.weight": (8, 16),
        "model.paligemma_with_expert.paligemma.lm_head.weight": (20, 16),
        "model.paligemma_with_expert.paligemma.model.language_model.norm.weight": (16,),
        "model.paligemma_with_expert.paligemma.model.multi_modal_projector.linear.weight": (16, 16),
    },
    "OpenVLA": {
        "language_model.model.norm.weight": (16,),
        "projector.fc1.weight": (16, 16),
        "vision_backbone.featurizer.reg_token": (1, 4, 16),
    },
}
"""Some of the weights beside the tower, under their published names."""
PREFIX = {
    "SmolVLA": "model.vlm_with_expert.vlm.model.vision_model.",
    "pi0": "model.paligemma_with_expert.paligemma.model.vision_tower.vision_model.",
    "openpi": "paligemma_with_expert.paligemma.model.vision_tower.vision_model.",
    "OpenVLA": "vision_backbone.fused_featurizer.",
}
IMAGES = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def write(place: Path, kind: str, tower: Mapping[str, Tensor]) -> Path:
    """Write a policy's weights in two shards, in the type that they are published in."""
    place.mkdir()
    others = {name: torch.zeros(shape) for name, shape in OTHERS.get(kind, OTHERS["pi0"]).items()}
    weights = {f"{PREFIX[kind]}{name}": value.contiguous() for name, value in tower.items()} | others
    names = sorted(weights)
    for number, part in enumerate((names[::2], names[1::2]), 1):
        save_file({name: weights[name] for name in part}, place / f"model-0000{number}-of-00002.safetensors")
    return place


def filled(module: nn.Module) -> nn.Module:
    """Give every weight, also those that begin as zeros, a random value."""
    torch.manual_seed(0)
    for value in module.parameters():
        nn.init.normal_(value, std=0.2)
    return module.eval()


def vision_model(kind: str) -> nn.Module:
    """Return a tiny tower of the class that these policies use."""
    if kind == "SmolVLA":
        from transformers.models.smolvlm.configuration_smolvlm import SmolVLMVisionConfig
        from transformers.models.smolvlm.modeling_smolvlm import SmolVLMVisionTransformer

        return filled(SmolVLMVisionTransformer(SmolVLMVisionConfig(**SIZES)))
    from transformers.models.siglip import SiglipVisionConfig, SiglipVisionModel

    return filled(SiglipVisionModel(SiglipVisionConfig(**SIZES)))


def timm_weights() -> dict[str, Tensor]:
    """Return weights as timm names them, the pooling that OpenVLA never runs included."""
    shapes: dict[str, tuple[int, ...]] = {"patch_embed.proj.weight": (16, 3, 4, 4), "patch_embed.proj.bias": (16,)}
    shapes |= {"pos_embed": (1, 16, 16), "norm.weight": (16,), "norm.bias": (16,), "attn_pool.latent": (1, 1, 16)}
    linear = {"attn.qkv": (48, 16), "attn.proj": (16, 16), "mlp.fc1": (24, 16), "mlp.fc2": (16, 24)}
    for number in range(3):
        for name, shape in linear.items():
            shapes |= {f"blocks.{number}.{name}.weight": shape, f"blocks.{number}.{name}.bias": shape[:1]}
        for name in ("norm1", "norm2"):
            shapes |= {f"blocks.{number}.{name}.{part}": (16,) for part in ("weight", "bias")}
    random = torch.Generator().manual_seed(0)
    return {name: 0.3 * torch.randn(shape, generator=random) for name, shape in shapes.items()}


def timm_forward(weights: Mapping[str, Tensor], pixels: Tensor, blocks: int) -> Tensor:
    """Return the tokens after so many blocks of a vision transformer, written out."""

    def linear(name: str, values: Tensor) -> Tensor:
        return functional.linear(values, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(name: str, values: Tensor) -> Tensor:
        return functional.layer_norm(values, (16,), weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6)

    patches = functional.conv2d(pixels, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], stride=4)
    tokens = patches.flatten(2).mT + weights["pos_embed"]
    for block in (f"blocks.{number}" for number in range(blocks)):
        split = linear(f"{block}.attn.qkv", norm(f"{block}.norm1", tokens)).unflatten(-1, (3, 2, 8))
        query, key, value = split.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        tokens = tokens + linear(f"{block}.attn.proj", mixed)
        inner = functional.gelu(linear(f"{block}.mlp.fc1", norm(f"{block}.norm2", tokens)))
        tokens = tokens + linear(f"{block}.mlp.fc2", inner)
    return tokens


@pytest.mark.parametrize("kind", ["SmolVLA", "pi0", "openpi"])
def test_a_tower_sees_what_it_saw_in_its_policy(kind: str, tmp_path: Path) -> None:
    theirs = vision_model(kind)
    tower = {name.removeprefix("vision_model."): value for name, value in theirs.state_dict().items()}
    taken = take_tower(write(tmp_path / "theirs", kind, tower), made(tmp_path / "ours"), heads=2)
    assert taken.kind is (SMOLVLA if kind == "SmolVLA" else PI0)
    ours = VisionEncoder(SiglipConfig(path=str(tmp_path / "ours"))).eval()
    with torch.no_grad():
        wanted = theirs(pixel_values=IMAGES / 127.5 - 1).last_hidden_state
        torch.testing.assert_close(ours(IMAGES), wanted, rtol=1e-5, atol=1e-5)


def test_the_tower_of_openvla_is_read_at_its_last_layer_but_one(tmp_path: Path) -> None:
    weights = timm_weights()
    taken = take_tower(write(tmp_path / "theirs", "OpenVLA", weights), made(tmp_path / "ours"), heads=2)
    ours = VisionEncoder(SiglipConfig(path=str(tmp_path / "ours"), layer=taken.kind.layer)).eval()
    with torch.no_grad():
        wanted = timm_forward(weights, IMAGES / 127.5 - 1, blocks=2)
        torch.testing.assert_close(ours(IMAGES), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", OTHERS)
def test_what_stays_behind_is_named_with_its_size_and_why(kind: str, tmp_path: Path) -> None:
    tower = timm_weights() if kind == "OpenVLA" else vision_model(kind).state_dict()
    taken = take_tower(write(tmp_path / "theirs", kind, tower), made(tmp_path / "ours"), heads=2)
    assert sum(count for _, count, _ in taken.left) == sum(torch.Size(shape).numel() for shape in OTHERS[kind].values())
    assert "not known" not in " ".join(taken.lines())
    assert len(taken.left) == {"SmolVLA": 4, "pi0": 4, "OpenVLA": 3}[kind]


def test_the_command_writes_a_tower_and_says_how_to_see_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "theirs", "OpenVLA", timm_weights())
    words = ["adopt", str(source), "--part", "vision", "--heads", "2", "--out", str(tmp_path / "tower")]
    assert main(words) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "OpenVLA: taken 0.0 M weights of its vision part" in said
    assert "left language model, 0.0 M weights: --part language takes" in said
    assert "--policy.vision.kind siglip --policy.vision.path" in said
    assert "--policy.vision.layer -2" in said
    assert main(words) == 2
    assert "exists and is left as it is" in capsys.readouterr().err


def test_what_is_no_such_policy_is_refused(tmp_path: Path) -> None:
    empty = made(tmp_path / "empty")
    with pytest.raises(CheckpointError, match=r"no \*.safetensors; no vision part of SmolVLA, pi0, OpenVLA"):
        take_tower(empty, made(tmp_path / "a"))
    source = write(tmp_path / "theirs", "OpenVLA", timm_weights())
    with pytest.raises(ConfigError, match=r"width of 16, .* 12 for 768, .* say yours with --heads"):
        take_tower(source, made(tmp_path / "b"))
    (source / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"weights are missing|tower lacks"):
        take_tower(source, made(tmp_path / "c"), heads=2)


@pytest.mark.parametrize("kind", ["SmolVLA", "pi0", "OpenVLA"])
def test_a_language_model_reads_what_it_read_in_its_policy(kind: str, tmp_path: Path) -> None:
    sizes = {name: SIZES[name] for name in ("hidden_size", "intermediate_size", "num_hidden_layers")}
    shared = {**sizes, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 304}
    if kind == "pi0":
        theirs = filled(GemmaModel(GemmaSettings(**shared, head_dim=8)))
    else:
        theirs = filled(LlamaModel(LlamaSettings(**shared, rms_norm_eps=1e-5)))
    prefix = {
        "SmolVLA": "model.vlm_with_expert.vlm.model.text_model.",
        "pi0": "model.paligemma_with_expert.paligemma.model.language_model.",
        "OpenVLA": "language_model.model.",
    }[kind]
    tower = timm_weights() if kind == "OpenVLA" else vision_model(kind).state_dict()
    source = write(tmp_path / "theirs", kind, tower)
    for file in source.glob("*.safetensors"):
        save_file({name: value for name, value in load_file(file).items() if not name.startswith(prefix)}, file)
    save_file({f"{prefix}{name}": value for name, value in theirs.state_dict().items()}, source / "more.safetensors")
    hub_models.byte_tokenizer("llama").save(str(source / "tokenizer.json"))
    taken = take_language(source, made(tmp_path / "ours"), heads=4)
    assert "vision tower" in {name for name, _, _ in taken.left}
    config = (GemmaConfig if kind == "pi0" else LlamaConfig)(path=str(tmp_path / "ours"))
    tokenizer = tokenizer_of(config, ())
    ours = TextEncoder(config, tokenizer.get_vocab_size()).eval()
    ids = torch.tensor([tokenizer.encode("go to the left thing").ids])
    with torch.no_grad():
        torch.testing.assert_close(ours(ids).tokens, theirs(input_ids=ids).last_hidden_state, rtol=1e-5, atol=1e-5)
    said = "attention heads of 256" if kind == "pi0" else r"language part .* width of 16, .* 15 for 960, 32 for 4096"
    with pytest.raises((ConfigError, CheckpointError), match=said):
        take_language(source, made(tmp_path / "again"))


def made(place: Path) -> Path:
    """Return a new directory."""
    place.mkdir()
    return place
