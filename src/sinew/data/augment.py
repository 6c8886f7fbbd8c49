"""Image changes in training, drawn once per row and shared by all ticks of its window."""

from __future__ import annotations

import torch
from torch import Tensor

from sinew.data.config import AugmentConfig

YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
"""From RGB to luminance and two axes of colour (NTSC)."""
GREY = 127.5
"""Contrast turns about mid-grey: an image's own mean would cost a pass over it."""


def augment(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Return images with brightness, contrast and position changed at random.

    Both brightness and contrast are factors drawn evenly from 1 +- the largest change; together they
    are one multiplication and one addition.

    Args:
        images: (B, T, 3, h, w) uint8 of one camera; left as they are.
        config: largest changes; 0 switches one off.
        generator: of the draws; they do not depend on the device of the images.

    Returns:
        The same shape and type.
    """
    if config.shift:
        images = _shift(images, config.shift, generator)
    if not (config.brightness or config.contrast):
        return images
    draws = torch.rand(2, images.shape[0], 1, 1, 1, 1, generator=generator, device=generator.device).to(images.device)
    brightness = 1 + config.brightness * (2 * draws[0] - 1)
    contrast = 1 + config.contrast * (2 * draws[1] - 1)
    changed = images.float().mul_(brightness * contrast).add_(GREY * (1 - contrast) + 0.5)
    return changed.clamp_(0, 255).to(torch.uint8)


def turn_hues(images: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
    """Return images in which the hues of some rows are turned by an angle of their own, luminance kept.

    What is called by its shape keeps its name under any colour; so shapes are learned apart from colours.

    Args:
        images: (B, T, 3, h, w) uint8 of one camera; left as they are.
        rows: (B,) bool, those to turn.
        generator: of the angles, one per row whether it is turned or not.

    Returns:
        The same shape and type.
    """
    angles = torch.rand(len(rows), generator=generator, device=generator.device)[rows.cpu()] * (2 * torch.pi)
    if len(angles) == 0:
        return images
    turn = torch.zeros(len(angles), 3, 3)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = angles.cos()
    turn[:, 2, 1] = angles.sin()
    turn[:, 1, 2] = -turn[:, 2, 1]
    mixed = (torch.linalg.inv(YIQ) @ turn @ YIQ).to(images.device)
    changed = torch.einsum("bij,btjhw->btihw", mixed, images[rows].float()).add_(0.5).clamp_(0, 255).to(torch.uint8)
    turned = images.clone()
    turned[rows] = changed
    return turned


def _shift(images: Tensor, largest: int, generator: torch.Generator) -> Tensor:
    """Move each row's images by whole pixels, repeating the edge."""
    num_rows, _, _, height, width = images.shape
    moves = torch.randint(-largest, largest + 1, (2, num_rows, 1), generator=generator, device=generator.device)
    moves = moves.to(images.device)
    down = (torch.arange(height, device=images.device) - moves[0]).clamp_(0, height - 1)
    right = (torch.arange(width, device=images.device) - moves[1]).clamp_(0, width - 1)
    rows = torch.arange(num_rows, device=images.device)[:, None, None]
    moved = images.permute(0, 3, 4, 1, 2)[rows, down[:, :, None], right[:, None, :]]
    return moved.permute(0, 3, 4, 1, 2).contiguous()
