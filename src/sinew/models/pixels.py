"""The images that an encoder was trained on: their size, how they are resized and how pixels become numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sinew.core.errors import CheckpointError
from sinew.core.files import read_json

FILES = ("preprocessor_config.json", "processor_config.json")
"""Where a directory in the Hugging Face layout says it: alone, or as "image_processor" of a processor."""
MODES = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""Names of PIL's ways to resample."""
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass(frozen=True)
class Pixels:
    """How an encoder wants its images.

    Attributes:
        size: (h, w) [px].
        mean: of each colour, at 0 .. 1.
        std: of each colour, at 0 .. 1.
        mode: of interpolation.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    mode: str = "bicubic"

    def to_dict(self) -> dict[str, Any]:
        """Return the content of a preprocessor_config.json."""
        return {
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": list(self.mean),
            "image_std": list(self.std),
            "resample": next(number for number, name in MODES.items() if name == self.mode),
            "rescale_factor": 1 / 255,
            "size": {"height": self.size[0], "width": self.size[1]},
        }


def read_pixels(place: Path) -> Pixels:
    """Return what a directory in the Hugging Face layout says about images.

    Raises:
        CheckpointError: nothing, or something that cannot be done.
    """
    found = next((place / name for name in FILES if (place / name).is_file()), None)
    if found is None:
        raise CheckpointError(
            f"{place}: no {FILES[0]}, so the mean and deviation of the pixels are unknown. Put it beside the weights."
        )
    content = read_json(found)
    return parse_pixels(content.get("image_processor", content), str(found))


def parse_pixels(content: Mapping[str, Any], found: str) -> Pixels:
    """Return what the content of a preprocessor_config.json says.

    Raises:
        CheckpointError: nothing, or something that cannot be done; ``found`` is named.
    """
    missing = [name for name in ("image_mean", "image_std", "size") if name not in content]
    if missing:
        raise CheckpointError(f"{found}: says nothing of {', '.join(missing)}. Take the file of the original model.")
    number = content.get("resample", 3)
    if number not in MODES:
        raise CheckpointError(f"{found}: resample {number}, this sinew knows {MODES}. Set the nearest of them.")
    size = content["crop_size"] if content.get("do_center_crop") and "crop_size" in content else content["size"]
    scale = float(content.get("rescale_factor", 1 / 255)) * 255 if content.get("do_rescale", True) else 255.0
    plain = not content.get("do_normalize", True)
    mean = (0.0,) * 3 if plain else tuple(float(value) / scale for value in content["image_mean"])
    std = (1 / scale,) * 3 if plain else tuple(float(value) / scale for value in content["image_std"])
    return Pixels(_size(size, found), mean, std, MODES[number])


class Preprocess(nn.Module):
    """Camera images to what an encoder was trained on.

    The whole image is resized, so what is at its rim stays in sight and a place in the image stays the same share of
    it. Where a model's own processor cuts out the middle, this differs from it on purpose.

    Args:
        pixels: what is wanted.
    """

    def __init__(self, pixels: Pixels) -> None:
        super().__init__()
        self.pixels = pixels
        mean, std = torch.tensor(pixels.mean), torch.tensor(pixels.std)
        self.register_buffer("scale", (1 / (255 * std)).view(-1, 1, 1), persistent=False)  # the blueprint says it
        self.register_buffer("shift", (mean / std).view(-1, 1, 1), persistent=False)
        self.scale: Tensor
        self.shift: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, 3, H, W) float32 of images (B, 3, h, w) uint8."""
        values = images.float()
        if tuple(images.shape[-2:]) != self.pixels.size:
            values = self._resize(values)
        return values * self.scale - self.shift

    def _resize(self, values: Tensor) -> Tensor:
        mode = self.pixels.mode
        if mode == "nearest":
            return functional.interpolate(values, self.pixels.size, mode="nearest-exact")
        smooth = functional.interpolate(values, self.pixels.size, mode=mode, antialias=True, align_corners=False)
        return smooth.round().clamp(0.0, 255.0)  # whole numbers, as the image libraries give them


def _size(size: Any, found: str) -> tuple[int, int]:  # noqa: ANN401  (what a file says)
    if isinstance(size, int):
        return size, size
    for height, width in (("height", "width"), ("shortest_edge", "shortest_edge")):
        if isinstance(size, dict) and height in size and width in size:
            return int(size[height]), int(size[width])
    raise CheckpointError(f"{found}: size {size!r}, wanted height and width or shortest_edge. Mend the file.")
