"""Single images: PNG and JPEG bytes to arrays and back, and scaling."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from sinew.core.errors import DataError

Picture = NDArray[np.uint8]
"""(h, w, 3) RGB."""


def decode(content: bytes, where: str) -> Picture:
    """Return the picture in PNG or JPEG bytes.

    Raises:
        DataError: the bytes are no whole picture, or one of another depth.
    """
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise DataError(
            f"{where}: not a readable image ({error}). Restore the file, or leave the episode out."
        ) from error
    if image.mode not in ("RGB", "L", "P", "RGBA"):
        raise DataError(f"{where}: an image of mode {image.mode}, 8-bit colour is needed. Depth cannot be read yet.")
    return np.asarray(image.convert("RGB"))


def encode(picture: Picture) -> bytes:
    """Return a picture as PNG."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    return file.getvalue()


def scale(picture: Picture, size: tuple[int, int]) -> Picture:
    """Return the picture at (height, width), filtered over what each new pixel covers; the same one where it fits."""
    if picture.shape[:2] == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.BILINEAR))
