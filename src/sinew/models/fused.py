"""The network of a policy with a fusion: any encoder, projected and fused, with the points that words name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sinew.models.encoder_config import LmFusionConfig, PrefixFusionConfig
from sinew.models.encoders import DEAF, build_vision, feature_map, grid_of
from sinew.models.fusion import AnyFusion, build_fusion
from sinew.models.grounding import Locator
from sinew.models.heads.config import FeatureLayout
from sinew.models.lm_fusion import LmFusion
from sinew.models.network import Coordinates, Network, Scene
from sinew.models.prefix import PrefixNetwork
from sinew.models.projector_config import MlpProjectorConfig
from sinew.models.projectors import AnyProjector, build_projector
from sinew.models.text_encoders import TextEncoder, build_language
from sinew.models.views import Views, largest
from sinew.models.vision import Pointers
from sinew.models.visuomotor import VisuomotorNetwork
from sinew.models.visuomotor_config import CellsConfig, KeypointsConfig

if TYPE_CHECKING:
    from sinew.core.types import Features, RobotSpec
    from sinew.models.config import PolicyConfig
    from sinew.models.encoder_config import AnyTokenFusionConfig
    from sinew.models.language import Words


class FusedNetwork(nn.Module):
    """Encodes B observations with T ticks each into any number of tokens.

    Each image becomes tokens by encoder and projector, and is told which camera and tick it is of; words
    become tokens of the same width; state and predicted points become one. Then the fusion has them. Pointers,
    where there are any, look at the encoder's own map, before the projector.

    Args:
        config: parts and sizes. fusion: of the parts.
        spec: cameras, state and action sizes.
        vocabulary: V of the tokenizer.
        blueprints: of pretrained parts by name, where they are not to be fetched.
    """

    def __init__(
        self,
        config: PolicyConfig,
        fusion: AnyTokenFusionConfig | LmFusionConfig,
        spec: RobotSpec,
        vocabulary: int,
        blueprints: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.config, self.cameras, self.width = config, tuple(spec.cameras), config.width
        size, width = largest(spec), config.width
        self.language = build_language(config.language, vocabulary, blueprints.get("language"))
        self.vision = build_vision(config.vision, self.language.width, size, blueprints.get("vision"))
        self.stack = Views(spec, self.vision)
        views = len(self.cameras) * config.history
        self.state_size = spec.state_size * config.history if config.state else 0
        self.pointing = Pointing(config, self.language.width, self.vision.channels, views)
        numbers = self.state_size + self.pointing.fed
        self.coordinates = Coordinates(numbers, width // 2) if numbers else None
        self.tell = nn.Linear(self.coordinates.size, width) if self.coordinates else None
        through_lm = isinstance(fusion, LmFusionConfig)
        self.say = None if through_lm else nn.Linear(self.language.width, width)
        rows, columns = grid_of(self.vision, size)
        self.project = self._projector(config, rows * columns)
        # A language model has learned with images as they are, so nothing is added to them at first.
        self.view = nn.Parameter((0.0 if through_lm else 0.02) * torch.randn(views, 1, width))
        if isinstance(fusion, LmFusionConfig):
            self.fusion: AnyFusion | LmFusion = LmFusion(self.language, width, fusion.after or 0)
            felt = self.coordinates.size if self.coordinates else 0
            self.layout = dataclasses.replace(self.fusion.layout, state=felt)
        else:
            self.fusion = build_fusion(fusion, width, extra=self.tell is not None)
            self.layout = FeatureLayout(many=self.fusion.many)
        self.listens = not (through_lm and self.pointing.pointers is None and isinstance(self.vision, DEAF))

    def forward(self, images: Mapping[str, Tensor], ids: Tensor, state: Tensor) -> Scene:
        """Return features (B, N, D) and points.

        Args:
            images: by camera, (B, T, 3, h, w) uint8.
            ids: (B, N) words.
            state: (B, T, S) at unit scale.
        """
        words = self.words(ids)
        views = self.stack(images)
        rows, count = views.shape[:2]
        each = words.repeat(count)
        seen = feature_map(self.vision, views.flatten(0, 1), each)
        logits, points, located = self.pointing(seen, each, rows)
        numbers = [state.flatten(1)[:, : self.state_size], *located]
        felt = made = None
        if self.coordinates is not None and self.tell is not None:
            made = self.coordinates(torch.cat(numbers, dim=-1))
            felt = self.tell(made)[:, None]
        tokens = self.project(seen.flatten(2).mT).unflatten(0, (rows, count)) + self.view
        ticks = logits.unflatten(0, (rows, len(self.cameras), self.config.history))
        features = self.fuse(tokens, words, felt)
        if self.layout.state:
            features = dataclasses.replace(features, state=made)
        return Scene(features, points, ticks[:, :, -1])

    def words(self, ids: Tensor) -> Words:
        """Return words in context, or as they are embedded where nothing but the language model itself reads them."""
        if self.listens or not isinstance(self.language, TextEncoder):
            return self.language(ids)
        return self.language.embed(ids)

    def fuse(self, tokens: Tensor, words: Words, felt: Tensor | None) -> Features:
        """Return features of what is seen (B, V, M, D), said and felt (B, 1, D)."""
        if self.say is None:
            assert isinstance(self.language, TextEncoder)
            said = dataclasses.replace(words, tokens=words.plain)
            return self.fusion(tokens, said, felt, self.language.model)
        return self.fusion(tokens, dataclasses.replace(words, tokens=self.say(words.tokens)), felt)

    def _projector(self, config: PolicyConfig, tokens: int) -> AnyProjector | nn.Linear:
        if config.projector is None:
            return nn.Linear(self.vision.channels, config.width)
        return build_projector(config.projector, self.vision.channels, config.width, tokens)


class Pointing(nn.Module):
    """The points that an instruction names, found in the maps of all views; nothing where none are asked for.

    Args:
        config: of the policy.
        words: D of the word features.
        channels: C of the maps.
        views: cameras times ticks.

    Attributes:
        fed: how many numbers the features get of it.
    """

    def __init__(self, config: PolicyConfig, words: int, channels: int, views: int) -> None:
        super().__init__()
        self.sizes = dict(config.grounding.points)
        numbers = sum(self.sizes.values())
        self.fed = numbers if config.grounding.feed else 0
        self.pointers = Pointers(words, channels, len(self.sizes)) if self.sizes else None
        self.locate = Locator(views * len(self.sizes), channels, config.width, numbers) if self.sizes else None

    def forward(self, seen: Tensor, words: Words, rows: int) -> tuple[Tensor, dict[str, Tensor], list[Tensor]]:
        """Return logits (B V, K, h, w), points by name and what to feed of them, for B = ``rows`` observations.

        Args:
            seen: maps (B V, C, h, w).
            words: of each.
            rows: B.
        """
        if self.pointers is None or self.locate is None:
            return seen.new_zeros(len(seen), 0, *seen.shape[-2:]), {}, []
        logits, where, found = self.pointers(seen, words)
        where, found = where.reshape(rows, -1, 2), found.reshape(rows, -1, seen.shape[1])
        located = self.locate(where, found)
        points = dict(zip(self.sizes, located.split(list(self.sizes.values()), dim=-1), strict=True))
        return logits.unflatten(2, seen.shape[-2:]), points, [located] if self.fed else []


def build_network(
    config: PolicyConfig, spec: RobotSpec, vocabulary: int, blueprints: Mapping[str, Any] | None = None
) -> Network | FusedNetwork | PrefixNetwork | VisuomotorNetwork:
    """Return the network of a policy's settings.

    Args:
        config: parts and sizes.
        spec: of the robot.
        vocabulary: V of the tokenizer.
        blueprints: of pretrained parts that are not to be fetched, see ``network.blueprints_of``.

    Raises:
        ConfigError: parts that do not fit each other.
    """
    if blueprints and isinstance(config.projector, MlpProjectorConfig):
        config = dataclasses.replace(config, projector=dataclasses.replace(config.projector, path=""))
    if isinstance(config.fusion, (CellsConfig, KeypointsConfig)):
        return VisuomotorNetwork(config, config.fusion, spec, vocabulary, blueprints or {})
    if isinstance(config.fusion, PrefixFusionConfig):
        return PrefixNetwork(config, config.fusion, spec, vocabulary, blueprints or {})
    if config.fusion is None:
        return Network(config, spec, vocabulary, blueprints or {})
    return FusedNetwork(config, config.fusion, spec, vocabulary, blueprints or {})
