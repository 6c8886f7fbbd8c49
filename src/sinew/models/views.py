"""The images of all cameras in one stack, whatever sizes they have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from sinew.models.encoders import PRETRAINED, AnyVision

if TYPE_CHECKING:
    from sinew.core.types import RobotSpec


class Views(nn.Module):
    """Brings every camera to the size that the vision encoder reads, and stacks them.

    Cameras of one size are stacked as they are. Of several sizes each is resized once: to the size of a pretrained
    encoder in the way that it wants, or else to that of the largest camera. Whole images are resized, so a place in an
    image stays the same share of it. Resizing is linear along each side, so it is done by two matrices, which any
    exporter knows; grey levels are not rounded, for what rounds otherwise elsewhere would then see another image.

    Args:
        spec: of the robot.
        vision: that reads the images.
    """

    def __init__(self, spec: RobotSpec, vision: AnyVision) -> None:
        super().__init__()
        self.cameras = tuple(spec.cameras)
        sizes = {(camera.height, camera.width) for camera in spec.cameras.values()}
        pixels = vision.preprocess.pixels if isinstance(vision, PRETRAINED) else None
        size, mode = largest(spec) if pixels is None else pixels.size, "bilinear" if pixels is None else pixels.mode
        self.resized = [len(sizes) > 1 and (camera.height, camera.width) != size for camera in spec.cameras.values()]
        for number, camera in enumerate(spec.cameras.values()):
            if self.resized[number]:
                for side, old, new in (("down", camera.height, size[0]), ("across", camera.width, size[1])):
                    self.register_buffer(f"{side}_{number}", _resampling(old, new, mode), persistent=False)

    def forward(self, images: Mapping[str, Tensor]) -> Tensor:
        """Return (B, V T, 3, h, w), camera by camera, of images (B, T, 3, h, w) uint8 by camera.

        They are uint8, or float32 in 0 .. 255 where one was resized.
        """
        if not any(self.resized):
            return torch.cat([images[name] for name in self.cameras], dim=1)
        return torch.cat(
            [self._fitted(number, images[name].float()) for number, name in enumerate(self.cameras)], dim=1
        )

    def _fitted(self, number: int, images: Tensor) -> Tensor:
        if not self.resized[number]:
            return images
        down, across = self.get_buffer(f"down_{number}"), self.get_buffer(f"across_{number}")
        return (down @ images @ across.T).clamp(0.0, 255.0)


def largest(spec: RobotSpec) -> tuple[int, int]:
    """Return (h, w) of the camera with the most pixels."""
    return max(((camera.height, camera.width) for camera in spec.cameras.values()), key=lambda size: size[0] * size[1])


def _resampling(old: int, new: int, mode: str) -> Tensor:
    """Return the matrix (new, old) that resizes one side, antialiased where it shrinks."""
    lines = torch.eye(old)[None, None]  # each column is a line with a single bright place
    if mode == "nearest":
        return functional.interpolate(lines, (new, old), mode="nearest-exact")[0, 0]
    return functional.interpolate(lines, (new, old), mode=mode, antialias=True, align_corners=False)[0, 0]
