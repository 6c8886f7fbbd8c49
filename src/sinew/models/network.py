"""The network of a policy: images, words and state to features, with the points the words name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sinew.core.errors import ConfigError
from sinew.core.types import Features
from sinew.models.config import FUSIONS
from sinew.models.encoders import PRETRAINED, build_vision, feature_map, grid_of
from sinew.models.grounding import Locator
from sinew.models.heads.config import ONE_TOKEN
from sinew.models.language import Pool
from sinew.models.projector_config import PerceiverProjectorConfig
from sinew.models.projectors import AnyProjector, build_projector
from sinew.models.text_encoders import TextEncoder, build_language
from sinew.models.views import Views, largest
from sinew.models.vision import Pointers, SoftArgmax

if TYPE_CHECKING:
    from sinew.core.types import RobotSpec
    from sinew.models.config import PolicyConfig


@dataclass(frozen=True)
class Scene:
    """What the network made of an observation.

    Attributes:
        features: for the head.
        points: (B, k) at unit scale, by name.
        logits: (B, cameras, K, h, w), where in the newest images the K pointers look.
    """

    features: Features
    points: Mapping[str, Tensor]
    logits: Tensor


class Network(nn.Module):
    """Encodes B observations with T ticks each.

    The cameras share one vision encoder. Every tick is summarised by where channels look (soft
    argmax) and by what the pointers found; words, state and, when fed, the predicted points join in
    a learned fusion. All inputs and outputs are at unit scale.

    Args:
        config: parts and sizes.
        spec: cameras, state and action sizes.
        vocabulary: V of the tokenizer.
        blueprints: of pretrained parts by name, where they are not to be fetched; see ``blueprints_of``.
    """

    layout = ONE_TOKEN

    def __init__(self, config: PolicyConfig, spec: RobotSpec, vocabulary: int, blueprints: Mapping[str, Any]) -> None:
        super().__init__()
        self.config, self.cameras, self.width = config, tuple(spec.cameras), config.width
        size = largest(spec)
        self.language = build_language(config.language, vocabulary, blueprints.get("language"))
        words = self.language.width
        self.vision = build_vision(config.vision, words, size, blueprints.get("vision"))
        self.stack = Views(spec, self.vision)
        channels = self.vision.channels
        self.project = None
        if config.projector is not None:
            self.project, channels = self._projector(config, size), config.width
        self.look = SoftArgmax(channels)
        self.point_sizes = dict(config.grounding.points)
        count = max(1, len(self.point_sizes))
        self.pointers = Pointers(words, channels, count)
        self.sentence = Pool(words, 1)
        views = len(self.cameras) * config.history
        self.state_size = spec.state_size * config.history if config.state else 0
        num_coordinates = sum(self.point_sizes.values())
        self.locate = Locator(views * count, channels, config.width, num_coordinates) if self.point_sizes else None
        numbers = self.state_size + (num_coordinates if config.grounding.feed else 0)
        self.coordinates = Coordinates(numbers, config.width // 2) if numbers else None
        joined = views * (2 * channels + count * (2 + channels)) + words
        joined += self.coordinates.size if self.coordinates else 0
        self.fuse = nn.Sequential(nn.Linear(joined, config.width), nn.GELU())

    def _projector(self, config: PolicyConfig, size: tuple[int, int]) -> AnyProjector:
        if isinstance(config.projector, PerceiverProjectorConfig):
            raise ConfigError(
                "the perceiver projector leaves latents, which lie nowhere in an image, and pointers need places. "
                f"Set --policy.projector.kind mlp or attention, or --policy.fusion.kind {' | '.join(FUSIONS)}."
            )
        assert config.projector is not None
        rows, columns = grid_of(self.vision, size)
        return build_projector(config.projector, self.vision.channels, config.width, rows * columns)

    def forward(self, images: Mapping[str, Tensor], ids: Tensor, state: Tensor) -> Scene:
        """Return features (B, 1, D) and points.

        Args:
            images: by camera, (B, T, 3, h, w) uint8.
            ids: (B, N) words.
            state: (B, T, S) at unit scale.
        """
        words = self.language(ids)
        views, rows = self.stack(images), len(ids)
        count = views.shape[1]
        each = words.repeat(count)
        features = feature_map(self.vision, views.flatten(0, 1), each)
        if self.project is not None:
            features = self.project(features.flatten(2).mT).mT.unflatten(2, features.shape[-2:])
        logits, where, found = self.pointers(features, each)
        where, found = where.reshape(rows, -1, 2), found.reshape(rows, -1, features.shape[1])
        parts = [self.look(features).reshape(rows, -1), where.flatten(1), found.flatten(1)]
        parts.append(self.sentence(words)[:, 0])
        numbers = [state.flatten(1)[:, : self.state_size]]
        points: dict[str, Tensor] = {}
        if self.locate is not None:
            located = self.locate(where, found)
            points = dict(zip(self.point_sizes, located.split(list(self.point_sizes.values()), dim=-1), strict=True))
            if self.config.grounding.feed:
                numbers.append(located)
        if self.coordinates is not None:
            parts.append(self.coordinates(torch.cat(numbers, dim=-1)))
        ticks = logits.reshape(rows, len(self.cameras), -1, logits.shape[1], *features.shape[-2:])
        return Scene(Features(self.fuse(torch.cat(parts, dim=-1))[:, None]), points, ticks[:, :, -1])


def blueprints_of(network: nn.Module) -> dict[str, Any]:
    """Return what it takes to build the pretrained parts of a network again, but for weights, as JSON values."""
    parts = {name: part for name, part in network.named_modules() if isinstance(part, (*PRETRAINED, TextEncoder))}
    outer = {name: part for name, part in parts.items() if name.rpartition(".")[0] not in parts}  # not a tower of two
    return {name.rpartition(".")[2]: part.blueprint() for name, part in outer.items()}


class Coordinates(nn.Module):
    """Numbers to features at many scales: learned projections through sines (Tancik 2020, arXiv:2006.10739).

    Differs from the paper in that the projections are trained and the numbers pass through as well,
    so that differences between them become visible at whatever scale the task needs.

    Args:
        size: how many numbers. width: how many sines.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.size = size + width
        self.project = nn.Linear(size, width)
        scales = torch.logspace(-0.5, 0.7, width)
        with torch.no_grad():
            self.project.weight.copy_(torch.randn(width, size) * scales[:, None] / size**0.5)
            self.project.bias.uniform_(-torch.pi, torch.pi)

    def forward(self, numbers: Tensor) -> Tensor:
        """Return (B, size + width) from numbers (B, size) at unit scale."""
        return torch.cat([numbers, self.project(numbers).sin()], dim=-1)
