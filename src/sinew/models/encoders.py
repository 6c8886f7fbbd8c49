"""Images to patch tokens through vision models of ``transformers``, each with its own preprocessing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sinew.core.errors import CheckpointError, ConfigError
from sinew.models.config import FilmVisionConfig, TokenVisionConfig
from sinew.models.encoder_config import AnyEncoderConfig, PrismaticConfig, ResnetConfig
from sinew.models.pixels import HALVES, IMAGENET, OPENAI, Pixels, Preprocess, parse_pixels, read_pixels
from sinew.models.pretrained import Freezable, fetch, load_weights, read_blueprint, transformers_class
from sinew.models.vision import FilmVision, TokenVision
from sinew.models.vlm_config import StemConfig
from sinew.models.vlm_vision import StemVision

if TYPE_CHECKING:
    from sinew.models.config import AnyVisionConfig
    from sinew.models.language import Words


@dataclass(frozen=True)
class Tower:
    """What ``transformers`` calls the parts of a vision model.

    Attributes:
        module: below ``transformers.models``.
        model: class. blueprint: class of its configuration.
        types: see ``read_blueprint``.
        layers: path of its layers.
        embeddings: paths of what comes before them.
        norm: path of what comes after the last one; "" where nothing does.
        unused: path of what only a pooled output would need.
        extra: tokens before the patches, beside registers.
        colours: mean and deviation of its images where none are given.
        options: of the configuration with random weights. arguments: of the model's class.
    """

    module: str
    model: str
    blueprint: str
    types: Mapping[str, str]
    layers: str
    embeddings: tuple[str, ...]
    norm: str
    unused: tuple[str, ...]
    extra: int
    colours: tuple[tuple[float, ...], tuple[float, ...]]
    options: Mapping[str, Any]
    arguments: Mapping[str, Any]


SEEING = "vision_config"
TOWERS = {
    "siglip": Tower(
        "siglip", "SiglipVisionModel", "SiglipVisionConfig",
        {"siglip_vision_model": "", "siglip": SEEING, "llava": SEEING, "paligemma": SEEING},
        "encoder.layers", ("embeddings",), "post_layernorm", (), 0, HALVES, {"vision_use_head": False}, {},
    ),
    "clip": Tower(
        "clip", "CLIPVisionModel", "CLIPVisionConfig", {"clip_vision_model": "", "clip": SEEING, "llava": SEEING},
        "encoder.layers", ("embeddings", "pre_layrnorm"), "", ("post_layernorm",), 1, OPENAI, {}, {},
    ),
    "dinov2": Tower(
        "dinov2", "Dinov2Model", "Dinov2Config", {"dinov2": ""},
        "encoder.layer", ("embeddings",), "layernorm", (), 1, IMAGENET, {}, {},
    ),
    "dinov2_with_registers": Tower(
        "dinov2_with_registers", "Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", {"dinov2_with_registers": ""},
        "encoder.layer", ("embeddings",), "layernorm", (), 1, IMAGENET, {}, {},
    ),
    "vit": Tower(
        "vit", "ViTModel", "ViTConfig", {"vit": ""},
        "layers", ("embeddings",), "layernorm", (), 1, HALVES, {}, {"add_pooling_layer": False},
    ),
    "resnet": Tower(
        "resnet", "ResNetModel", "ResNetConfig", {"resnet": ""},
        "encoder.stages", ("embedder",), "", ("pooler",), 0, IMAGENET, {}, {},
    ),
}  # fmt: skip


class VisionEncoder(Freezable):
    """One vision model: camera images in, tokens of patches out, row by row from the top left.

    Args:
        config: its kind, and where its weights come from.
        blueprint: what ``blueprint()`` returned, to be built like that with random weights; None goes by ``config``.

    Attributes:
        channels: D of the tokens.
        grid: (rows, columns) of the patches.

    Raises:
        CheckpointError: what ``config.path`` names is missing, broken or of another kind.
        ConfigError: a setting does not fit the model.
    """

    def __init__(self, config: AnyEncoderConfig, blueprint: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        tower = TOWERS[config.kind]
        place = fetch(config.path) if config.path and blueprint is None else None
        self.settings = _settings(config, tower, place, blueprint)
        pixels = _pixels(config, tower, place, blueprint)
        kind = transformers_class(tower.module, tower.model)
        if place is None:
            self.model: nn.Module = kind(self.settings, **tower.arguments)
        else:
            self.model = load_weights(kind, self.settings, place, **tower.arguments)
        self.preprocess = Preprocess(pixels)
        self.extra: int = tower.extra + getattr(self.settings, "num_register_tokens", 0)
        for unused in tower.unused:
            self.model.set_submodule(unused, nn.Identity())
        layers: Any = self.model.get_submodule(tower.layers)
        if isinstance(config, ResnetConfig):
            self.channels, self.grid = self.settings.hidden_sizes[-1], _resnet_grid(self.settings, pixels.size)
            self._fix_norms(config)
        else:
            self.channels, self.grid = self.settings.hidden_size, _vit_grid(self.settings, pixels.size, config.kind)
            self._cut(config.layer, layers, tower.norm)
        self.freeze_first(config.frozen, layers, [self.model.get_submodule(path) for path in tower.embeddings])

    def forward(self, images: Tensor) -> Tensor:
        """Return tokens (B, N, D) of images (B, 3, h, w) uint8, N the cells of ``grid``."""
        hidden = self.model(self.preprocess(images)).last_hidden_state
        if hidden.ndim == 4:
            return hidden.flatten(2).transpose(1, 2)
        return hidden[:, self.extra :]

    def blueprint(self) -> dict[str, Any]:
        """Return what it takes to build this encoder again, but for weights, as JSON values."""
        return {"config": self.settings.to_dict(), "preprocessor": self.preprocess.pixels.to_dict()}

    def _cut(self, layer: int, layers: nn.ModuleList, norm: str) -> None:
        """Leave out what comes after the layer that is wanted."""
        mask_token = getattr(self.model.get_submodule("embeddings"), "mask_token", None)
        if mask_token is not None:
            mask_token.requires_grad_(requires_grad=False)  # for pretraining only
        if layer == -1:
            return
        if not -len(layers) <= layer < 0:
            raise ConfigError(f"layer {layer}: there are {len(layers)}, counted from the end, -1 being the last.")
        del layers[len(layers) + 1 + layer :]
        if norm:
            self.model.set_submodule(norm, nn.Identity())

    def _fix_norms(self, config: ResnetConfig) -> None:
        """Keep the statistics of batch norms, or put group norms in their place."""
        norms = {name: part for name, part in self.model.named_modules() if isinstance(part, nn.BatchNorm2d)}
        if (config.norm or ("frozen" if config.path else "group")) == "frozen":
            self.freeze(norms.values())
            return
        for name, part in norms.items():
            channels = part.num_features
            self.model.set_submodule(name, nn.GroupNorm(max(1, channels // 16), channels))


class PrismaticVision(nn.Module):
    """Two encoders look at the same image, each in its own colours; a patch's two tokens are joined to one.

    As in Prismatic (Karamcheti 2024, arXiv:2402.07865), whose vision OpenVLA has.

    Args:
        config: of both.
        blueprint: what ``blueprint()`` returned; None goes by ``config``.

    Attributes:
        channels: D of the tokens.
        grid: (rows, columns) of the patches.
        preprocess: of the first, for the size of the images.

    Raises:
        CheckpointError: see ``VisionEncoder``.
        ConfigError: they cut an image into other patches.
    """

    def __init__(self, config: PrismaticConfig, blueprint: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.dino, self.siglip = (
            VisionEncoder(one, None if blueprint is None else blueprint[one.kind])
            for one in (config.dino, config.siglip)
        )
        if self.dino.grid != self.siglip.grid:
            raise ConfigError(
                f"the two towers cut an image into {self.dino.grid} and {self.siglip.grid} patches. Take two that cut "
                "it alike (--policy.vision.dino, --policy.vision.siglip)."
            )
        self.channels, self.grid = self.dino.channels + self.siglip.channels, self.dino.grid

    @property
    def preprocess(self) -> Preprocess:
        """Of the first, which both have but for colours."""
        return self.dino.preprocess

    def forward(self, images: Tensor) -> Tensor:
        """Return tokens (B, N, D) of images (B, 3, h, w) uint8, N the cells of ``grid``."""
        return torch.cat([self.dino(images), self.siglip(images)], dim=-1)

    def blueprint(self) -> dict[str, Any]:
        """Return what it takes to build both again, but for weights, as JSON values."""
        return {"dinov2_with_registers": self.dino.blueprint(), "siglip": self.siglip.blueprint()}


PRETRAINED = (VisionEncoder, PrismaticVision)
"""Encoders that have images of one size."""
AnyVision = FilmVision | TokenVision | VisionEncoder | PrismaticVision | StemVision
DEAF = (*PRETRAINED, StemVision)
"""Encoders that make tokens of an image whatever is said."""


def build_vision(
    config: AnyVisionConfig, words: int, size: tuple[int, int], blueprint: Mapping[str, Any] | None
) -> AnyVision:
    """Return the vision encoder of these settings, for images of this size [px] and words of that width."""
    if isinstance(config, FilmVisionConfig):
        return FilmVision(config, words)
    if isinstance(config, TokenVisionConfig):
        return TokenVision(config, words, size)
    if isinstance(config, StemConfig):
        return StemVision(config)
    if isinstance(config, PrismaticConfig):
        return PrismaticVision(config, blueprint)
    return VisionEncoder(config, blueprint)


def feature_map(vision: AnyVision, images: Tensor, words: Words) -> Tensor:
    """Return what any vision encoder makes of images (B, 3, h, w) uint8 as a map (B, C, rows, columns)."""
    if isinstance(vision, DEAF):
        return vision(images).transpose(1, 2).unflatten(2, vision.grid)
    return vision(images, words)


def grid_of(vision: AnyVision, size: tuple[int, int]) -> tuple[int, int]:
    """Return (rows, columns) of the map that it makes of images of that size [px]."""
    if isinstance(vision, DEAF):
        return vision.grid
    scale = vision.scale
    return -(-size[0] // scale), -(-size[1] // scale)


def _settings(config: AnyEncoderConfig, tower: Tower, place: Path | None, blueprint: Mapping[str, Any] | None) -> Any:  # noqa: ANN401  (of transformers)
    kind = transformers_class(tower.module, tower.blueprint)
    if blueprint is not None:
        return kind.from_dict(blueprint["config"])
    if place is not None:
        settings = read_blueprint(kind, place, tower.types)
        for name, value in tower.options.items():
            setattr(settings, name, value)
        return settings
    if isinstance(config, ResnetConfig):
        sizes = config.random
        return kind(
            embedding_size=sizes.stem,
            hidden_sizes=list(sizes.widths),
            depths=list(sizes.depths),
            layer_type=sizes.block,
        )
    return kind(
        hidden_size=config.random.width,
        num_hidden_layers=config.random.layers,
        num_attention_heads=config.random.heads,
        image_size=config.random.image,
        patch_size=config.random.patch,
        attn_implementation="sdpa",
        **({"mlp_ratio": 4} if config.kind.startswith("dinov2") else {"intermediate_size": 4 * config.random.width}),
        **tower.options,
    )


def _pixels(config: AnyEncoderConfig, tower: Tower, place: Path | None, blueprint: Mapping[str, Any] | None) -> Pixels:
    if blueprint is not None:
        return parse_pixels(blueprint["preprocessor"], "blueprint")
    if place is not None:
        return read_pixels(place)
    return Pixels((config.random.image, config.random.image), *tower.colours)


def _vit_grid(settings: Any, size: tuple[int, int], kind: str) -> tuple[int, int]:  # noqa: ANN401  (of transformers)
    """Return the patches of an image; DINOv2 fits its positions to any size, the others have one."""
    if not kind.startswith("dinov2") and size != (settings.image_size, settings.image_size):
        raise CheckpointError(
            f"config.json is of images of {settings.image_size} pixels, preprocessor_config.json of "
            f"{size[0]} x {size[1]}. Take both files from one model."
        )
    return size[0] // settings.patch_size, size[1] // settings.patch_size


def _resnet_grid(settings: Any, size: tuple[int, int]) -> tuple[int, int]:  # noqa: ANN401  (of transformers)
    halvings = 1 + len(settings.hidden_sizes) + int(settings.downsample_in_first_stage)
    scale = 2**halvings
    return -(-size[0] // scale), -(-size[1] // scale)
