"""Single images: PNG and JPEG bytes to arrays and back, and scaling."""

from __future__ import annotations

import io
import struct
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from sinew.core.errors import DataError
from sinew.data.scaling import Picture, scale

__all__ = ["Picture", "decode", "encode", "scale"]
KINDS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
"""File formats that are looked for; the many others that Pillow knows are older code, and some start programs."""
MODES = ("RGB", "L", "P", "RGBA", "LA", "CMYK", "YCbCr", "1")
UNSAFE = (
    Image.DecompressionBombError,
    SyntaxError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
)
"""What Pillow's parsers raise besides on files that were damaged."""
MAX_PIXELS = 64_000_000
"""Pixels of the largest picture that is decoded; a file of a few bytes can claim any size."""


def decode(content: bytes, where: str) -> Picture:
    """Return the picture in PNG, JPEG, WebP, BMP or GIF bytes; the first one of several.

    Raises:
        DataError: the bytes are no whole picture, one of another depth, or one of more than ``MAX_PIXELS``.
    """
    image = _load(content, where)
    if image.mode not in MODES:
        raise DataError(
            f"{where}: an image of mode {image.mode}, 8-bit colour is needed. Depth is no camera; read it as a sensor."
        )
    return np.asarray(image.convert("RGB"))


def decode_reading(content: bytes, where: str) -> NDArray[Any]:
    """Return the values in the bytes of a picture that is a sensor's reading, as they are: (h, w) or (h, w, channels).

    Raises:
        DataError: see ``decode``; other kinds than 8-bit, 16-bit and 32-bit integers are refused too.
    """
    image = _load(content, where)
    if image.mode not in ("L", "LA", "RGB", "RGBA", "I;16", "I"):
        raise DataError(f"{where}: an image of mode {image.mode}, 8 or 16 bits a value are needed.")
    return np.asarray(image)


def _load(content: bytes, where: str) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow warns of is refused below, or harmless
            image = Image.open(io.BytesIO(content), formats=KINDS)
            if image.width * image.height > MAX_PIXELS:
                raise DataError(
                    f"{where}: an image of {image.height} x {image.width} px, {MAX_PIXELS // 1_000_000} million pixels "
                    "are the most that is read. Scale it down, or leave it out."
                )
            image.load()
    except (UnidentifiedImageError, OSError, ValueError, *UNSAFE) as error:
        raise DataError(
            f"{where}: not a readable image ({error}). Restore the file, or leave the episode out."
        ) from error
    return image


def encode(picture: Picture) -> bytes:
    """Return a picture as PNG."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    return file.getvalue()
