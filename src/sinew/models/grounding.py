"""Where the named things are: labels in space become labels in the image, and both teach the pointers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sinew.core.errors import SpecError
from sinew.models.vision import EDGE

if TYPE_CHECKING:
    from sinew.core.types import CameraSpec, RobotSpec
    from sinew.models.config import GroundingConfig
    from sinew.models.network import Scene
    from sinew.models.normalizer import Normalizer


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


class PointingLoss(nn.Module):
    """What labels of points teach: in space, and in the images of calibrated cameras, or in images by themselves.

    Args:
        config: which points there are and how they are taught.
        spec: of the robot, for its cameras.
        partial: labels that are states, then at unit scale, may have some values and lack others.
    """

    def __init__(self, config: GroundingConfig, spec: RobotSpec, *, partial: bool = False) -> None:
        super().__init__()
        self.config, self.partial = config, partial
        calibrated = [camera.intrinsics is not None and camera.pose is not None for camera in spec.cameras.values()]
        cameras = zip(spec.cameras.values(), calibrated, strict=True)
        self.projections = nn.ModuleList([Projection(camera) if known else nn.Identity() for camera, known in cameras])

    def forward(self, scene: Scene, targets: Mapping[str, Tensor], normalizer: Normalizer) -> Tensor:
        """Return (B,), the sum over the points of what their labels teach; a row without labels adds nothing.

        Args:
            scene: what was pointed at, at unit scale.
            targets: labels by name, physical units; ``image.NAME`` (B, 2 cameras) in 0 .. 1; NaN where not known.
            normalizer: knows the scale of the points.

        Raises:
            SpecError: a point that is taught has no labels.
        """
        states = self.config.states or ()
        spatial = scene.points if self.config.coordinates is None else self.config.coordinates
        missing = [name for name in (*spatial, *states) if name not in targets]
        if missing:
            raise SpecError(
                f"the data has no labels {missing}, only {sorted(targets)}. "
                "Train with --policy.grounding.weight 0, or record them."
            )
        terms: list[Tensor] = []
        for number, name in enumerate(scene.points):
            logits = scene.logits[:, :, number]
            if name in states or name in spatial:
                found = scene.points[name]
                cameras = [] if name in states else list(self.projections)
                known, label = _known(targets[name])
                missed = (found - normalizer.to_unit(f"targets_{name}", label)).abs().mean(dim=-1)
                if self.partial and name in states:
                    known, missed = _partly_missed(found, targets[name])
                missed = self._seen(missed, label, logits, cameras)
                terms.append(torch.where(known, missed, torch.zeros_like(missed)))
            if f"image.{name}" in targets:
                terms.append(self._in_images(targets[f"image.{name}"], logits))
        return torch.stack(terms).sum(dim=0) if terms else scene.logits.new_zeros(len(scene.logits))

    def _seen(self, missed: Tensor, label: Tensor, logits: Tensor, cameras: list[nn.Module]) -> Tensor:
        """Return (B,) with the cross-entropy on the image cells in which calibrated cameras see points in space."""
        for view, camera in enumerate(cameras):
            if isinstance(camera, Projection):
                missed = missed + self.config.image * cells_missed(logits[:, view], camera(label))
        return missed

    def _in_images(self, target: Tensor, logits: Tensor) -> Tensor:
        """Return (B,): cross-entropy on the image cells; places (B, 2 cameras) in 0 .. 1, NaN where not known.

        Few frames are labelled, so rows that are weigh as much as if all were.
        """
        total = logits.new_zeros(len(logits))
        for view, place in enumerate(target.unflatten(-1, (-1, 2)).unbind(dim=1)):
            known, label = _known(place)
            surprise = cells_missed(logits[:, view], label)
            share = known.to(surprise.dtype).mean().clamp(min=1 / len(known))
            total = total + torch.where(known, surprise, torch.zeros_like(surprise)) / share
        return self.config.image * total


def _known(target: Tensor) -> tuple[Tensor, Tensor]:
    """Return which rows of labels (B, k) are known, and the labels with zeros where they are not."""
    known = target.isfinite().all(dim=-1)
    return known, torch.where(known[:, None], target, torch.zeros_like(target))


def _partly_missed(found: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return which rows of labels (B, k) have any value, and the L1 of those they have, (B,)."""
    has = target.isfinite()
    away = (found - target.masked_fill(~has, 0.0)).abs() * has
    return has.any(dim=-1), away.sum(dim=-1) / has.sum(dim=-1).clamp(min=1)
