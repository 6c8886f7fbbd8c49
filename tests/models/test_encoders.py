"""Vision encoders: the outputs of transformers on the same weights, freezing, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

import hub_models
from sinew.core.errors import CheckpointError, ConfigError
from sinew.models.encoder_config import (
    ENCODERS,
    ClipConfig,
    Dinov2RegistersConfig,
    Frozen,
    PrismaticConfig,
    ResnetConfig,
    SiglipConfig,
    VitConfig,
    VitSizes,
)
from sinew.models.encoders import PrismaticVision, VisionEncoder, build_vision
from sinew.models.pretrained import transformers_class

PREFIX = {"siglip": 0, "clip": 1, "dinov2": 1, "dinov2_with_registers": 5, "vit": 1}


def images(side: int = 16) -> Tensor:
    random = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (3, 3, side, side), dtype=torch.uint8, generator=random)


def theirs(model: torch.nn.Module, seen: Tensor, kind: str) -> Tensor:
    """Tokens of the model itself, on numbers made by hand."""
    mean, std = (torch.tensor(hub_models.pixels()[name]).view(-1, 1, 1) for name in ("image_mean", "image_std"))
    with torch.no_grad():
        hidden = model(pixel_values=(seen / 255 - mean) / std).last_hidden_state
    return hidden.flatten(2).transpose(1, 2) if kind == "resnet" else hidden[:, PREFIX[kind] :]


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_directory_gives_the_outputs_of_transformers(kind: str, tmp_path: Path) -> None:
    model = hub_models.vision(kind, tmp_path)
    encoder = VisionEncoder(ENCODERS[kind](path=str(tmp_path))).eval()
    with torch.no_grad():
        found = encoder(images())
    assert found.shape == (3, encoder.grid[0] * encoder.grid[1], encoder.channels)
    torch.testing.assert_close(found, theirs(model, images(), kind), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ENCODERS)
def test_random_weights_run_on_any_camera_and_on_meta(kind: str) -> None:
    encoder = VisionEncoder(ENCODERS[kind]())
    found = encoder(images(20))
    assert found.shape == (3, encoder.grid[0] * encoder.grid[1], encoder.channels)
    found.square().mean().backward()
    trained = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    assert trained
    assert all(parameter.grad is not None for parameter in trained)
    assert encoder.to("meta")(images(20).to("meta")).shape == found.shape


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_saved_blueprint_builds_the_same_encoder(kind: str, tmp_path: Path) -> None:
    hub_models.vision(kind, tmp_path)
    config = ENCODERS[kind](path=str(tmp_path))
    encoder = VisionEncoder(config).eval()
    kept = json.loads(json.dumps(encoder.blueprint()))
    again = VisionEncoder(dataclasses.replace(config, path="gone/away"), blueprint=kept).eval()
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again(images()), encoder(images()))


@pytest.mark.parametrize("kind", list(PREFIX))
def test_the_layer_before_the_last_is_that_of_transformers(kind: str, tmp_path: Path) -> None:
    model = hub_models.vision(kind, tmp_path)
    encoder = VisionEncoder(ENCODERS[kind](path=str(tmp_path), layer=-2)).eval()  # type: ignore[call-arg]
    with torch.no_grad():
        hidden = model(pixel_values=encoder.preprocess(images()), output_hidden_states=True).hidden_states[-2]
        torch.testing.assert_close(encoder(images()), hidden[:, PREFIX[kind] :], rtol=0, atol=1e-6)


def test_the_vision_side_is_taken_out_of_a_checkpoint_with_both(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sides = {"vision_config": hub_models.EYES, "text_config": {**hub_models.BODY, "vocab_size": 40}}
    both = transformers_class("siglip", "SiglipModel")(transformers_class("siglip", "SiglipConfig")(**sides))
    hub_models.write(both, tmp_path, hub_models.pixels())
    encoder = VisionEncoder(SiglipConfig(path=str(tmp_path))).eval()
    with torch.no_grad():
        torch.testing.assert_close(encoder(images()), theirs(both.vision_model, images(), "siglip"), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("frozen", "wanted"), [(0, 0), (2, 2), ("all", 3)])
@pytest.mark.parametrize("kind", list(PREFIX))
def test_frozen_layers_have_no_gradients_and_stay_in_evaluation_mode(
    kind: str, frozen: Frozen, wanted: int, tmp_path: Path
) -> None:
    hub_models.vision(kind, tmp_path)
    encoder = VisionEncoder(ENCODERS[kind](path=str(tmp_path), frozen=frozen)).train()
    layers = encoder.model.get_submodule(
        "layers" if kind == "vit" else "encoder.layer" if kind.startswith("dinov2") else "encoder.layers"
    )
    for number, layer in enumerate(layers.children()):
        assert all(parameter.requires_grad is (number >= wanted) for parameter in layer.parameters())
        assert layer.training is (number >= wanted)
    trained = {name for name, value in encoder.named_parameters() if value.requires_grad and "mask_token" not in name}
    assert any("embeddings" in name for name in trained) is (frozen == 0)
    assert bool(trained) is (frozen != "all")


def test_batch_norms_of_a_checkpoint_keep_their_statistics_in_training(tmp_path: Path) -> None:
    hub_models.vision("resnet", tmp_path)
    encoder = VisionEncoder(ResnetConfig(path=str(tmp_path)))
    acting = encoder.eval()(images())
    assert torch.equal(encoder.train()(images()), acting)
    grouped = VisionEncoder(ResnetConfig(path=str(tmp_path), norm="group"))
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in grouped.modules())


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    hub_models.vision("clip", tmp_path)
    path = str(tmp_path)
    with pytest.raises(CheckpointError, match="model_type 'clip_vision_model', wanted 'siglip_vision_model' or"):
        VisionEncoder(SiglipConfig(path=path))
    with pytest.raises(ConfigError, match="frozen 4: there are 3 layers"):
        VisionEncoder(ClipConfig(path=path, frozen=4))
    with pytest.raises(ConfigError, match="layer -4: there are 3"):
        VisionEncoder(ClipConfig(path=path, layer=-4))
    with pytest.raises(CheckpointError, match="nowhere: no such directory"):
        VisionEncoder(ClipConfig(path=str(tmp_path / "nowhere")))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(hub_models.pixels(24)))
    with pytest.raises(CheckpointError, match=r"images of 16 pixels, preprocessor_config.json of 24 x 24"):
        VisionEncoder(ClipConfig(path=path))
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"no preprocessor_config\.json, so the mean"):
        VisionEncoder(ClipConfig(path=path))


def test_missing_weights_are_refused_not_drawn(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    hub_models.vision("vit", tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    name = next(name for name in weights if "layernorm_before" in name)
    del weights[name]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="1 weights of ViTModel are missing"):
        VisionEncoder(ENCODERS["vit"](path=str(tmp_path)))
    assert issubclass(ENCODERS["vit"], VitConfig)


def test_two_towers_give_what_each_gives_side_by_side(tmp_path: Path) -> None:
    for kind in ("dinov2_with_registers", "siglip"):
        (tmp_path / kind).mkdir()
        hub_models.vision(kind, tmp_path / kind)
    config = PrismaticConfig(
        dino=Dinov2RegistersConfig(path=str(tmp_path / "dinov2_with_registers")),
        siglip=SiglipConfig(path=str(tmp_path / "siglip")),
    )
    both = build_vision(config, 8, (16, 16), None).eval()
    assert isinstance(both, PrismaticVision)
    apart = [VisionEncoder(one).eval() for one in (config.dino, config.siglip)]
    with torch.no_grad():
        assert torch.equal(both(images()), torch.cat([one(images()) for one in apart], dim=-1))
    again = PrismaticVision(PrismaticConfig(), json.loads(json.dumps(both.blueprint()))).eval()
    assert again.channels == both.channels == 32
    sizes = VitSizes(image=16, patch=4)
    with pytest.raises(ConfigError, match=r"into \(4, 4\) and \(2, 2\) patches"):
        PrismaticVision(
            PrismaticConfig(
                dino=Dinov2RegistersConfig(random=sizes),
                siglip=SiglipConfig(random=dataclasses.replace(sizes, patch=8)),
            )
        )
