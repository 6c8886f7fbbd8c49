"""Changes of pixels: each drawn for the rows chosen, the same over a window, on the device of the images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
"""From RGB to luminance and two axes of colour (NTSC)."""
GREY = 127.5
"""Contrast turns about mid-grey: an image's own mean would cost a pass over it."""
FEW_PIXELS = 2**18
"""Pixels changed together on the CPU: a few images of 224 x 224."""
Patches = Mapping[int, tuple[int, int, int, int]]
STEP = 0.5
"""Variance of one pass of blur and axis [px^2]; a larger one would weigh the neighbours above the pixel itself."""


def shifted(images: Tensor, largest: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Move each row's images by whole pixels, repeating the edge.

    Args:
        images: (B, T, 3, h, w) uint8.
        largest: move in each direction [px].
        generator: of the moves.

    Returns:
        The images, and where places lie now, see ``moved``.
    """
    num_rows, _, _, height, width = images.shape
    moves = torch.randint(-largest, largest + 1, (2, num_rows, 1), generator=generator, device=generator.device)
    where = _affine(num_rows, right=moves[1, :, 0] / width, down=moves[0, :, 0] / height)
    moves = moves.to(images.device)
    down = (torch.arange(height, device=images.device) - moves[0]).clamp_(0, height - 1)
    right = (torch.arange(width, device=images.device) - moves[1]).clamp_(0, width - 1)
    rows = torch.arange(num_rows, device=images.device)[:, None, None]
    shown = images.permute(0, 3, 4, 1, 2)[rows, down[:, :, None], right[:, None, :]]
    return shown.permute(0, 3, 4, 1, 2).contiguous(), where


def cropped(images: Tensor, largest: float, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Cut up to a share of height and width away, anywhere, and scale what is left up again.

    Args:
        images: (B, T, 3, h, w) uint8.
        largest: share.
        rows: (B,) bool on the CPU, those to change.
        generator: of the cuts.

    Returns:
        The images, and where places lie now, see ``moved``.
    """
    num_rows, _, _, height, width = images.shape
    draws = torch.rand(3, num_rows, generator=generator)
    tall = ((1 - largest * draws[0]) * height).round().clamp(min=1)
    wide = ((1 - largest * draws[0]) * width).round().clamp(min=1)
    top = (draws[1] * (height - tall + 1)).floor().clamp(max=height - 1)
    left = (draws[2] * (width - wide + 1)).floor().clamp(max=width - 1)
    chosen = rows.nonzero().flatten()
    cuts = torch.stack([top, tall, left, wide], dim=1)[chosen].int().tolist()
    there = chosen.to(images.device)
    shown = _zoomed(images if bool(rows.all()) else images[there], cuts)
    if len(chosen) < num_rows:
        shown = images.clone().index_copy_(0, there, shown)
    where = _affine(num_rows)
    where[chosen, 0, 0], where[chosen, 1, 1] = (width / wide)[chosen], (height / tall)[chosen]
    where[chosen, 0, 2], where[chosen, 1, 2] = (-left / wide)[chosen], (-top / tall)[chosen]
    return shown, where


def flipped(images: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mirror the images of these rows (B,), right to left; return them and where places lie now."""
    shown, chosen = images.clone(), rows.nonzero().flatten()
    there = chosen.to(images.device)
    shown[there] = images[there].flip(-1)
    where = _affine(len(rows))
    where[chosen, 0, 0], where[chosen, 0, 2] = -1.0, 1.0
    return shown, where


def turned(images: Tensor, angles: Tensor) -> tuple[Tensor, Tensor]:
    """Turn each row's images about their middle, from right to down, repeating the edge.

    Args:
        images: (B, T, 3, h, w) uint8.
        angles: (B,) [rad] on the CPU; rows with 0 are left as they are.

    Returns:
        The images, and where places lie now, see ``moved``.
    """
    num_rows, ticks, _, height, width = images.shape
    cos, sin, ratio = angles.cos(), angles.sin(), height / width
    where = _affine(num_rows)  # in shares of width and height: a turn of pixels between two scalings
    where[:, 0, 0], where[:, 0, 1] = cos, -sin * ratio
    where[:, 1, 0], where[:, 1, 1] = sin / ratio, cos
    where[:, :, 2] = 0.5 - where[:, :, :2].sum(dim=2) * 0.5
    chosen = angles.nonzero().flatten()
    if len(chosen) == 0:
        return images, where
    back = torch.zeros(len(chosen), 2, 3)  # a grid asks where each pixel comes from, in -1 .. 1
    back[:, 0, 0] = back[:, 1, 1] = cos[chosen]
    back[:, 0, 1], back[:, 1, 0] = sin[chosen] * ratio, -sin[chosen] / ratio
    there = chosen.to(images.device)
    pictures = images[there].flatten(1, 2).float()
    grid = functional.affine_grid(back.to(images.device), list(pictures.shape), align_corners=False)
    found = functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    shown = images.clone()
    shown[there] = found.add_(0.5).clamp_(0, 255).to(torch.uint8).unflatten(1, (ticks, 3))
    return shown, where


def moved(places: Tensor, where: Tensor) -> Tensor:
    """Return where places (B, 2), right and down in 0 .. 1, lie in changed images; NaN where they are not seen.

    Args:
        places: in the images as they were.
        where: (B, 2, 3) affine maps of what was done.
    """
    there = (where[:, :, :2] @ places[:, :, None]).squeeze(-1) + where[:, :, 2]
    seen = ((there >= 0) & (there <= 1)).all(dim=1, keepdim=True)
    return torch.where(seen, there, torch.full_like(there, math.nan))


def colours(count: int, *, saturation: float, tint: float, rows: Tensor, generator: torch.Generator) -> Tensor:
    """Return (B, 3, 3) matrices that stretch colours away from grey and turn hues, luminance kept.

    Args:
        count: B.
        saturation: largest relative change.
        tint: largest turn [rad].
        rows: (B,) bool, those to change; the others get the identity.
        generator: of the draws.
    """
    draws = 2 * torch.rand(2, count, generator=generator) - 1
    stretch, angle = 1 + saturation * draws[0], tint * draws[1]
    turn = torch.zeros(count, 3, 3)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = stretch * angle.cos()
    turn[:, 2, 1] = stretch * angle.sin()
    turn[:, 1, 2] = -turn[:, 2, 1]
    mixed = torch.linalg.inv(YIQ) @ turn @ YIQ
    return torch.where(rows[:, None, None], mixed, torch.eye(3))


def blurred(pictures: Tensor, variance: Tensor) -> Tensor:
    """Blur in place, by steps of diffusion that keep each image's mean, and return it.

    Args:
        pictures: (B, C, h, w) float.
        variance: (B,) of the kernel [px^2].
    """
    passes = max(1, math.ceil(float(variance.max()) / STEP)) if len(variance) else 0
    amount = (variance / (2 * max(1, passes))).to(pictures.device)[:, None, None, None]
    for _ in range(passes):
        for axis in (2, 3):
            size = pictures.shape[axis] - 1
            first, second = pictures.narrow(axis, 0, size), pictures.narrow(axis, 1, size)
            flow = (second - first).mul_(amount)
            first += flow
            second -= flow
    return pictures


@dataclass(frozen=True)
class Texture:
    """What is drawn for B rows, and done to them in one go.

    Attributes:
        matrix: (B, 3, 3) on the colours. offset: (B, 3, 1) and what is added.
        blur: (B,) variance [px^2], 0 for none.
        noise: (B,) standard deviation, 0 for none.
        patches: by row, (top, left, height, width) of a grey patch.
    """

    matrix: Tensor
    offset: Tensor
    blur: Tensor
    noise: Tensor
    patches: Patches


def textured(images: Tensor, texture: Texture, generator: torch.Generator) -> Tensor:
    """Return images (B, T, 3, h, w) uint8 with their colours mixed, blurred, made noisy and patched.

    On the CPU a few rows at a time, so that they stay in its cache: four times as fast as all at once.

    Args:
        images: left as they are.
        texture: what is done to them.
        generator: of the noise, row by row.
    """
    shown, device = torch.empty_like(images), images.device
    rows, ticks, _, height, width = images.shape
    step = max(1, FEW_PIXELS // (ticks * height * width)) if device.type == "cpu" else rows
    for begin in range(0, rows, step):
        part = slice(begin, min(begin + step, rows))
        matrix, offset = (one[part].repeat_interleave(ticks, 0).to(device) for one in (texture.matrix, texture.offset))
        flat = torch.baddbmm(offset, matrix, images[part].float().reshape(-1, 3, height * width))
        pictures = flat.reshape(-1, ticks, 3, height, width)
        for row in range(part.start, part.stop):
            _roughen(pictures[row - begin], row, texture, generator)
        shown[part] = pictures.add_(0.5).clamp_(0, 255)
    return shown


def patch_places(rows: Tensor, largest: float, size: tuple[int, int], generator: torch.Generator) -> Patches:
    """Draw where grey patches lie.

    Args:
        rows: (B,) bool on the CPU, those that get one.
        largest: side, as a share of the image's.
        size: (h, w) of the images.
        generator: of size and place.
    """
    height, width = size
    draws, found = torch.rand(4, len(rows), generator=generator), dict[int, tuple[int, int, int, int]]()
    for row in rows.nonzero().flatten().tolist():
        tall = max(1, round(float(draws[0, row]) * largest * height))
        wide = max(1, round(float(draws[1, row]) * largest * width))
        found[row] = (int(draws[2, row] * (height - tall + 1)), int(draws[3, row] * (width - wide + 1)), tall, wide)
    return found


def _roughen(picture: Tensor, row: int, texture: Texture, generator: torch.Generator) -> None:
    """Blur, make noisy and patch one row's float images (T, 3, h, w) in place."""
    if float(texture.blur[row]) > 0:
        blurred(picture, texture.blur[row].expand(len(picture)))
    if float(texture.noise[row]) > 0:
        grain = torch.randn(picture.shape, generator=generator).mul_(texture.noise[row])
        picture += grain.to(picture.device)
    if row in texture.patches:
        top, left, tall, wide = texture.patches[row]
        picture[:, :, top : top + tall, left : left + wide] = GREY


def _affine(count: int, *, right: Tensor | float = 0.0, down: Tensor | float = 0.0) -> Tensor:
    """Return (B, 2, 3) maps that move places by shares of the image."""
    where = torch.eye(2, 3).repeat(count, 1, 1)
    where[:, 0, 2], where[:, 1, 2] = right, down
    return where


def _zoomed(images: Tensor, cuts: list[list[int]]) -> Tensor:
    """Return uint8 images (B, T, 3, h, w) of which each row is cut at (top, height, left, width) and scaled up.

    On the CPU they stay uint8 and their colours lie side by side meanwhile, for which torch is twice as fast.
    """
    size, on_cpu, shown = images.shape[-2:], images.device.type == "cpu", torch.empty_like(images)
    for row, (top, tall, left, wide) in enumerate(cuts):
        part = images[row, :, :, top : top + tall, left : left + wide]
        part = torch.stack(part.unbind(1), dim=-1).permute(0, 3, 1, 2) if on_cpu else part.float()
        found = functional.interpolate(part, size, mode="bilinear", align_corners=False)
        shown[row] = found if on_cpu else found.add_(0.5).clamp_(0, 255).to(torch.uint8)
    return shown
