"""Pictures, and pictures at another size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]
"""(h, w, 3) RGB."""


def scale(picture: Picture, size: tuple[int, int]) -> Picture:
    """Return the picture at (height, width), filtered over what each new pixel covers; the same one where it fits."""
    if picture.shape[:2] == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.BILINEAR))
