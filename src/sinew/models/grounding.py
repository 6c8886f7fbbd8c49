"""Where the named things are: labels in space become labels in the image, and both teach the pointers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sinew.models.vision import EDGE

if TYPE_CHECKING:
    from sinew.core.types import CameraSpec


class Projection(nn.Module):
    """A calibrated pinhole camera.

    Args:
        camera: with intrinsics and pose.
    """

    def __init__(self, camera: CameraSpec) -> None:
        super().__init__()
        if camera.intrinsics is None or camera.pose is None:
            raise ValueError("a projection needs a camera with intrinsics and pose")
        fx, fy, cx, cy = camera.intrinsics
        pose = torch.tensor(camera.pose, dtype=torch.float32).view(4, 4)
        size = torch.tensor([camera.width, camera.height], dtype=torch.float32)
        self.register_buffer("rotation", pose[:3, :3].contiguous(), persistent=False)
        self.register_buffer("position", pose[:3, 3].contiguous(), persistent=False)
        self.register_buffer("focal", torch.tensor([fx, fy]) / size, persistent=False)
        self.register_buffer("middle", torch.tensor([cx, cy]) / size, persistent=False)
        self.rotation: Tensor
        self.position: Tensor
        self.focal: Tensor
        self.middle: Tensor

    def forward(self, points: Tensor) -> Tensor:
        """Return where points (B, 2 or 3) [m] lie in the image, (B, 2) from 0 to 1; outside values are possible.

        Points of two coordinates lie at z = 0 of the robot's frame.
        """
        if points.shape[-1] == 2:
            points = torch.cat([points, torch.zeros_like(points[:, :1])], dim=-1)
        seen = (points - self.position) @ self.rotation
        return seen[:, :2] / seen[:, 2:].clamp(min=1e-3) * self.focal + self.middle


def heat(places: Tensor, height: int, width: int) -> Tensor:
    """Return soft labels over the cells of a map: each place is shared by its four neighbours and is their mean.

    Args:
        places: (B, 2) in 0 .. 1 of the image, right and down; clamped to the outermost cells.
        height: rows of the map.
        width: columns of the map.

    Returns:
        (B, height * width), rows sum to 1.
    """
    sizes = torch.tensor([width, height], device=places.device)
    cells = torch.minimum((places * sizes - 0.5).clamp(min=0.0), sizes - 1.0)
    across = (1 - (cells[:, :1] - torch.arange(width, device=places.device)).abs()).clamp(min=0)
    down = (1 - (cells[:, 1:] - torch.arange(height, device=places.device)).abs()).clamp(min=0)
    return (down[:, :, None] * across[:, None, :]).flatten(1)


def cells_missed(logits: Tensor, places: Tensor) -> Tensor:
    """Return the cross-entropy (B,) of logits over the cells (B, h, w) against places (B, 2) in 0 .. 1 of the image."""
    return -(heat(places, *logits.shape[-2:]) * logits.flatten(1).log_softmax(dim=-1)).sum(dim=-1)


class Locator(nn.Module):
    """From where the pointers look to coordinates in space.

    A linear path carries the image coordinates, an MLP on coordinates and found features bends it.
    Proprioception is no input: what the hand happens to be near would be the easier answer.

    Args:
        places: pointers times views.
        channels: C of the features found.
        width: hidden size.
        size: coordinates to predict.
    """

    def __init__(self, places: int, channels: int, width: int, size: int) -> None:
        super().__init__()
        self.straight = nn.Linear(2 * places, size)
        self.bent = nn.Sequential(nn.Linear(places * (2 + channels), width), nn.GELU(), nn.Linear(width, size))
        nn.init.normal_(self.straight.weight, std=1 / EDGE / places)

    def forward(self, where: Tensor, found: Tensor) -> Tensor:
        """Return (B, size) from coordinates (B, places, 2) and features (B, places, C)."""
        flat = where.flatten(1)
        return self.straight(flat) + self.bent(torch.cat([flat, found.flatten(1)], dim=-1))
