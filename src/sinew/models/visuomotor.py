"""Networks of policies that look through convolutions: all cells of the maps (ACT), or where channels look."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sinew.core.errors import ConfigError
from sinew.core.types import Features
from sinew.models.detr import map_positions
from sinew.models.encoder_config import ResnetConfig
from sinew.models.encoders import VisionEncoder
from sinew.models.heads.config import ActHeadConfig, FeatureLayout
from sinew.models.language import Pool, Words
from sinew.models.network import Scene
from sinew.models.text_encoders import build_language
from sinew.models.visuomotor_config import CellsConfig

if TYPE_CHECKING:
    from sinew.core.types import RobotSpec
    from sinew.models.config import PolicyConfig
    from sinew.models.visuomotor_config import AnyVisuomotorConfig, KeypointsConfig


class Trunk(nn.Module):
    """Camera images to feature maps; every camera has colours of its own, and eyes if it is wanted.

    Args:
        vision: the residual network.
        config: how images are cut and resized.
        spec: whose cameras.
        blueprint: see ``VisionEncoder``.

    Attributes:
        channels: C of the maps. eyes: networks there are, one or one a camera.

    Raises:
        ConfigError: the images are smaller than what is cut out of them.
    """

    def __init__(
        self,
        vision: ResnetConfig,
        config: AnyVisuomotorConfig,
        spec: RobotSpec,
        blueprint: Mapping[str, Any] | None,
    ) -> None:
        super().__init__()
        self.cameras, self.config = tuple(spec.cameras), config
        self.eyes = len(self.cameras) if config.separate else 1
        self.vision = VisionEncoder(vision, blueprint)
        self.others = nn.ModuleList([copy.deepcopy(self.vision.model) for _ in range(self.eyes - 1)])
        self.channels = self.vision.channels
        pixels = self.vision.preprocess.pixels
        for name, values in (("mean", pixels.mean), ("std", pixels.std)):
            self.register_buffer(name, torch.tensor(values).repeat(len(self.cameras), 1))
        self.mean: Tensor
        self.std: Tensor
        for name, camera in spec.cameras.items():
            size = config.size or (camera.height, camera.width)
            if config.crop is not None and (config.crop[0] > size[0] or config.crop[1] > size[1]):
                raise ConfigError(f"crop {config.crop}: images of {name} are {size[0]} x {size[1]}, which is smaller.")

    def forward(self, images: Mapping[str, Tensor]) -> list[Tensor]:
        """Return maps (B T, C, h', w') by camera, of images (B, T, 3, h, w) uint8."""
        models = [self.vision.model, *self.others]
        return [
            models[number % self.eyes](self.seen(number, images[name].flatten(0, 1))).last_hidden_state
            for number, name in enumerate(self.cameras)
        ]

    def seen(self, number: int, images: Tensor) -> Tensor:
        """Return what the network sees of a camera's images (N, 3, h, w)."""
        values = images.float() / 255
        size = self.config.size
        if size is not None and tuple(values.shape[-2:]) != tuple(size):
            values = functional.interpolate(values, size, mode="bilinear", antialias=True, align_corners=False)
        values = (values - self.mean[number, :, None, None]) / self.std[number, :, None, None]
        return values if self.config.crop is None else self._cut(values, *self.config.crop)

    def _cut(self, values: Tensor, height: int, breadth: int) -> Tensor:
        """Cut out the middle; in training somewhere, the same for all."""
        rows, columns = values.shape[-2] - height, values.shape[-1] - breadth
        top, left = round(rows / 2.0), round(columns / 2.0)
        if self.training:
            top, left = (int(torch.randint(space + 1, ())) for space in (rows, columns))
        return values[..., top : top + height, left : left + breadth]


class CellsNetwork(nn.Module):
    """State and every cell of every camera's map a token with its place; the scene of ACT (Zhao 2023).

    ACT's head gets the places apart, as it adds them in every layer; for the others they are part of the tokens. The
    newest tick alone is seen. With ``words`` the sentence is a token, too, which ACT does not have.

    Args:
        config: of the policy. cells: of this network.
        trunk: its eyes.
        spec: cameras and state.
        words: D of the words.
    """

    many = True

    def __init__(self, config: PolicyConfig, cells: CellsConfig, trunk: Trunk, spec: RobotSpec, words: int) -> None:
        super().__init__()
        self.width = config.width
        self.apart = isinstance(config.head, ActHeadConfig)
        self.trunk = trunk
        self.cells = nn.Linear(trunk.channels, self.width)
        self.state = nn.Linear(spec.state_size, self.width) if config.state and spec.state_size else None
        self.said = nn.Sequential(Pool(words, 1), nn.Linear(words, self.width)) if cells.words else None
        count = (self.state is not None) + (self.said is not None)
        self.places = nn.Parameter(torch.randn(count, self.width))

    def forward(self, images: Mapping[str, Tensor], words: Words | None, state: Tensor) -> Features:
        """Return tokens (B, N, D), and places (N, D) for a head that wants them; see ``VisuomotorNetwork``."""
        tokens: list[Tensor] = []
        if self.state is not None:
            tokens.append(self.state(state[:, -1])[:, None])
        if self.said is not None:
            tokens.append(self.said(words))
        places: list[Tensor] = [self.places]
        for cells in self.trunk({name: views[:, -1:] for name, views in images.items()}):
            tokens.append(self.cells(cells.flatten(2).transpose(1, 2)))
            places.append(map_positions(cells.shape[-2], cells.shape[-1], self.width, cells.device).to(cells.dtype))
        seen, where = torch.cat(tokens, dim=1), torch.cat(places)
        return Features(seen, places=where) if self.apart else Features(seen + where)


class KeypointsNetwork(nn.Module):
    """Where K learned channels look in every image of every tick, and the state: one token (Chi 2023).

    Diffusion Policy's observation encoder: spatial softmax (Finn 2015, arXiv:1509.06113) and a layer behind it.

    Args:
        config: of the policy. points: of this network.
        trunk: its eyes.
        spec: cameras and state.
        words: D of the words.
    """

    many = False

    def __init__(
        self, config: PolicyConfig, points: KeypointsConfig, trunk: Trunk, spec: RobotSpec, words: int
    ) -> None:
        super().__init__()
        self.trunk = trunk
        size = 2 * points.keypoints
        self.maps = nn.ModuleList([nn.Conv2d(trunk.channels, points.keypoints, 1) for _ in range(trunk.eyes)])
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(size, size), nn.ReLU()) for _ in range(trunk.eyes)])
        self.said = Pool(words, 1) if points.words else None
        self.state_size = spec.state_size if config.state else 0
        self.width = config.history * (self.state_size + size * len(spec.cameras)) + (words if points.words else 0)

    def forward(self, images: Mapping[str, Tensor], words: Words | None, state: Tensor) -> Features:
        """Return one token (B, 1, D): tick by tick state and keypoints of each camera, then the sentence."""
        rows, ticks = state.shape[:2]
        found = [state[..., : self.state_size]]
        for number, cells in enumerate(self.trunk(images)):
            eye = number % self.trunk.eyes
            found.append(self.layers[eye](keypoints(self.maps[eye](cells))).view(rows, ticks, -1))
        tokens = torch.cat(found, dim=-1).flatten(1)
        if self.said is not None and words is not None:
            tokens = torch.cat([tokens, self.said(words)[:, 0]], dim=-1)
        return Features(tokens[:, None])


class VisuomotorNetwork(nn.Module):
    """The network of a policy that looks through convolutions, with words where they are heard.

    Args:
        config: of the policy. kind: of the network.
        spec: cameras and state.
        vocabulary: V of the tokenizer.
        blueprints: of pretrained parts by name, where they are not to be fetched.

    Attributes:
        width: D of the features. layout: of the features.

    Raises:
        ConfigError: the eyes are no residual network, or points are asked for.
    """

    def __init__(
        self,
        config: PolicyConfig,
        kind: AnyVisuomotorConfig,
        spec: RobotSpec,
        vocabulary: int,
        blueprints: Mapping[str, Any],
    ) -> None:
        super().__init__()
        if config.grounding.points or config.projector is not None:
            raise ConfigError(
                f"the {kind.kind} fusion finds no points and projects by itself. Leave --policy.grounding.points and "
                "--policy.projector out."
            )
        if not isinstance(config.vision, ResnetConfig):
            raise ConfigError(
                f"the {kind.kind} fusion looks through a residual network, not {config.vision.kind}. "
                "Set --policy.vision.kind resnet, or another --policy.fusion.kind."
            )
        if config.lora is not None:
            raise ConfigError(
                f"the {kind.kind} fusion has no linear maps for adapters to stand beside. Leave --policy.lora out."
            )
        self.language = build_language(config.language, vocabulary, blueprints.get("language")) if kind.words else None
        words = 0 if self.language is None else self.language.width
        trunk = Trunk(config.vision, kind, spec, blueprints.get("vision"))
        if isinstance(kind, CellsConfig):
            self.scene: CellsNetwork | KeypointsNetwork = CellsNetwork(config, kind, trunk, spec, words)
        else:
            self.scene = KeypointsNetwork(config, kind, trunk, spec, words)
        self.width, self.layout = self.scene.width, FeatureLayout(many=self.scene.many)

    def forward(self, images: Mapping[str, Tensor], ids: Tensor, state: Tensor) -> Scene:
        """Return features; there are no points.

        Args:
            images: by camera, (B, T, 3, h, w) uint8.
            ids: (B, N) words.
            state: (B, T, S) at unit scale.
        """
        words = None if self.language is None else self.language(ids)
        features = self.scene(images, words, state)
        return Scene(features, {}, state.new_zeros(len(state), len(images), 0, 1, 1))


def keypoints(maps: Tensor) -> Tensor:
    """Return where each channel of maps (N, K, h, w) looks on average, (N, 2 K): x and y from -1 to 1."""
    across, down = (torch.linspace(-1.0, 1.0, size, device=maps.device) for size in maps.shape[:-3:-1])
    weights = maps.flatten(2).softmax(dim=-1).unflatten(-1, maps.shape[-2:])
    x, y = (weights.sum(dim=-2) * across).sum(dim=-1), (weights.sum(dim=-1) * down).sum(dim=-1)
    return torch.stack([x, y], dim=-1).flatten(1)
