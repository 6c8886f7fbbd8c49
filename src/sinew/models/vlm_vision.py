"""A small vision transformer over convolutions, and what a vision-language model asks of any encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from sinew.core.errors import ConfigError
from sinew.models.language import Block
from sinew.models.pixels import HALVES, Pixels, Preprocess

if TYPE_CHECKING:
    from sinew.models.vlm_config import StemConfig


SPREAD = 0.5
"""Deviation of a row's and of a column's position at first; tokens of the stem are about as large."""


class TokenEncoder(Protocol):
    """Images to tokens.

    Attributes:
        channels: D. grid: (rows, columns) of the N tokens of an image.
        preprocess: brings images to the size that it reads.
    """

    channels: int
    grid: tuple[int, int]
    preprocess: Preprocess

    def __call__(self, images: Tensor) -> Tensor:
        """Return tokens (B, N, D) of images (B, 3, h, w) uint8."""
        ...


class StemVision(nn.Module):
    """A vision transformer over a convolutional stem (Xiao 2021, arXiv:2106.14881).

    Differs from the paper in its norms (of each channel of an image, which need no batch) and in its positions, which
    begin at random for each row and column and are learned further.

    Args:
        config: its sizes.

    Raises:
        ConfigError: the patches do not fit the image or the stem.
    """

    def __init__(self, config: StemConfig) -> None:
        super().__init__()
        if config.patch % 4 or config.image % config.patch or config.width % 8:
            raise ConfigError(
                f"vision stem: patch {config.patch}, image {config.image}, width {config.width}; wanted a patch that "
                "is a multiple of 4 and divides the image, and a width that is a multiple of 8."
            )
        self.channels = config.width
        side = config.image // config.patch
        self.grid = (side, side)
        self.preprocess = Preprocess(Pixels((config.image, config.image), *HALVES))
        narrow, wide = config.width // 4, config.width // 2
        self.stem = nn.Sequential(
            nn.Conv2d(3, narrow, 5, stride=2, padding=2),
            nn.InstanceNorm2d(narrow, affine=True),
            nn.GELU(),
            nn.Conv2d(narrow, wide, 3, stride=2, padding=1),
            nn.InstanceNorm2d(wide, affine=True),
            nn.GELU(),
            nn.Conv2d(wide, wide, 3, padding=1),
            nn.InstanceNorm2d(wide, affine=True),
            nn.GELU(),
            nn.Conv2d(wide, config.width, config.patch // 4, stride=config.patch // 4),
        )
        self.position = nn.Parameter(positions_2d(side, config.width))
        self.blocks = nn.ModuleList([Block(config.width, config.heads) for _ in range(config.layers)])
        self.norm = nn.LayerNorm(config.width)
        for name, weight in self.named_parameters():
            if weight.ndim > 1 and name != "position":
                nn.init.normal_(weight, std=weight[0].numel() ** -0.5)

    def forward(self, images: Tensor) -> Tensor:
        """Return tokens (B, N, D) of images (B, 3, h, w) uint8."""
        tokens = self.stem(self.preprocess(images)).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            tokens = block(tokens, None)
        return self.norm(tokens)


def positions_2d(side: int, width: int) -> Tensor:
    """Return positions (side^2, width) drawn at random: one of the row plus one of the column.

    Slow sines hardly tell a cell from its neighbour, so that attention is long in finding a place; random vectors of
    this width stand almost at right angles.
    """
    rows, columns = SPREAD * torch.randn(2, side, width)
    return rows.repeat_interleave(side, 0) + columns.repeat(side, 1)
