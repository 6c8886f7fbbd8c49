"""Images to feature maps under an instruction: modulated convolutions or fused patch tokens."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sinew.models.language import Block, Pool, Words

if TYPE_CHECKING:
    from sinew.models.config import FilmVisionConfig, TokenVisionConfig


def to_float(images: Tensor) -> Tensor:
    """Return uint8 images (..., 3, h, w) as float32 in -1 .. 1."""
    return images.float().mul_(1 / 127.5).sub_(1.0)


class FilmVision(nn.Module):
    """Convolutions whose channels the instruction scales and shifts (FiLM, Perez 2018, arXiv:1709.07871).

    Differs from the paper in the small depth and in group norms instead of batch norms, so that
    training and acting compute the same.

    Args:
        config: channels.
        words: D of the word features.

    Attributes:
        channels: C of the map. scale: side of one of its cells [px].
    """

    scale = 4

    def __init__(self, config: FilmVisionConfig, words: int) -> None:
        super().__init__()
        first, second, *rest = config.channels
        self.channels = config.channels[-1]
        self.stem = nn.Sequential(
            nn.Conv2d(3, first, 5, stride=2, padding=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(first, second, 3, stride=2, padding=1),
            nn.GroupNorm(1, second),
            nn.ReLU(inplace=True),
        )
        self.pool = Pool(words, 1, plain=True)
        self.convs = nn.ModuleList()
        self.films = nn.ModuleList()
        for channels_in, channels_out in zip(config.channels[1:-1], rest, strict=True):
            conv = nn.Conv2d(channels_in, channels_out, 3, padding=1)
            self.convs.append(nn.Sequential(conv, nn.GroupNorm(1, channels_out)))
            self.films.append(nn.Linear(words, 2 * channels_out))

    def forward(self, images: Tensor, words: Words) -> Tensor:
        """Return a feature map (B, C, h / 4, w / 4) of images (B, 3, h, w) uint8."""
        sentence = self.pool(words)[:, 0]
        features = self.stem(to_float(images))
        for conv, film in zip(self.convs, self.films, strict=True):
            scale, shift = film(sentence)[..., None, None].chunk(2, dim=1)
            changed = torch.addcmul(shift, conv(features), 1 + scale).relu()
            features = features + changed if changed.shape == features.shape else changed
        return features


class TokenVision(nn.Module):
    """Patch tokens and words fused by one transformer.

    Args:
        config: sizes.
        words: D of the word features.
        size: (h, w) of the image [px].

    Attributes:
        channels: C of the map. scale: side of one of its cells [px].
    """

    def __init__(self, config: TokenVisionConfig, words: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.channels, self.scale = config.width, config.patch
        stride = config.patch // 2
        self.stem = nn.Sequential(
            nn.Conv2d(3, config.width // 2, 2 * stride - 1, stride=stride, padding=stride - 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(config.width // 2, config.width, 3, stride=2, padding=1),
        )
        grid = (-(-size[0] // config.patch), -(-size[1] // config.patch))
        self.position = nn.Parameter(0.02 * torch.randn(1, grid[0] * grid[1], config.width))
        self.words = nn.Linear(words, config.width)
        self.blocks = nn.ModuleList([Block(config.width, config.heads) for _ in range(config.layers)])
        self.norm = nn.LayerNorm(config.width)

    def forward(self, images: Tensor, words: Words) -> Tensor:
        """Return a feature map (B, C, h / patch, w / patch) of images (B, 3, h, w) uint8."""
        features = self.stem(to_float(images))
        rows, width, height, breadth = features.shape
        patches = features.flatten(2).transpose(1, 2) + self.position
        fused = torch.cat([patches, self.words(words.tokens)], dim=1)
        allowed = torch.cat([words.mask.new_ones(rows, patches.shape[1]), words.mask], dim=1)
        for block in self.blocks:
            fused = block(fused, allowed)
        patches = self.norm(fused[:, : patches.shape[1]])
        return patches.transpose(1, 2).reshape(rows, width, height, breadth)


class SoftArgmax(nn.Module):
    """Where each channel of a feature map looks (spatial softmax, Levine 2016, arXiv:1504.00702)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(channels, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, 2 C) expected coordinates of a map (B, C, h, w), see ``image_grid``."""
        weights = (features.flatten(2) * self.log_scale.exp()).softmax(dim=-1)
        return (weights @ image_grid(features)).flatten(1)


EDGE = 3.0
"""Coordinate of the last cell of a map; wide enough that coordinates in the middle vary as much as other features."""


def image_grid(features: Tensor) -> Tensor:
    """Return the (x, y) coordinates of a map's cells, (h w, 2) from -EDGE to EDGE, right and down."""
    return _grid(features.shape[-2], features.shape[-1], features.device, features.dtype)


@lru_cache
def _grid(height: int, width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    y = torch.linspace(-EDGE, EDGE, height, device=device, dtype=dtype)
    x = torch.linspace(-EDGE, EDGE, width, device=device, dtype=dtype)
    return torch.stack([x.repeat(height), y.repeat_interleave(width)], dim=-1)


class Pointers(nn.Module):
    """K places in the image that the instruction asks for, found by attention.

    Each pointer reads the words with its own learned query, then looks for the result in the map.

    Args:
        words: D of the word features.
        channels: C of the map.
        count: K.
    """

    def __init__(self, words: int, channels: int, count: int) -> None:
        super().__init__()
        self.pool = Pool(words, count, plain=True)
        self.query = nn.Linear(words, channels)
        self.key = nn.Conv2d(channels, channels, 1)
        self.scale = nn.Parameter(torch.tensor(4.0 * channels**-0.5))

    def forward(self, features: Tensor, words: Words) -> tuple[Tensor, Tensor, Tensor]:
        """Return where each pointer looks.

        Args:
            features: a map (B, C, h, w).
            words: B sentences.

        Returns:
            Logits over the cells (B, K, h w), expected coordinates (B, K, 2), features found there (B, K, C).
        """
        query = self.query(self.pool(words)) * self.scale
        logits = query @ self.key(features).flatten(2)
        weights = logits.softmax(dim=-1)
        return logits, weights @ image_grid(features), weights @ features.flatten(2).transpose(1, 2)
