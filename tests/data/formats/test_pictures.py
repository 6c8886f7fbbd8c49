from __future__ import annotations

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from sinew.core.errors import DataError
from sinew.data.formats.pictures import decode, encode, scale

PICTURE = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)


def saved(picture: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


def test_a_picture_is_encoded_without_loss() -> None:
    np.testing.assert_array_equal(decode(encode(PICTURE), "here"), PICTURE)


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_other_lossless_files_are_read(kind: str) -> None:
    np.testing.assert_array_equal(decode(saved(Image.fromarray(PICTURE), kind), "here"), PICTURE)


@pytest.mark.parametrize("mode", ["L", "CMYK", "1", "LA"])
def test_grey_and_printed_colours_become_rgb(mode: str) -> None:
    content = saved(Image.new(mode, (4, 3)), "JPEG" if mode == "CMYK" else "PNG")
    assert decode(content, "here").shape == (3, 4, 3)


def test_depth_is_no_picture() -> None:
    with pytest.raises(DataError, match=r"frame 3: an image of mode I;16"):
        decode(saved(Image.new("I;16", (4, 3)), "PNG"), "frame 3")


def test_a_few_bytes_that_claim_a_huge_picture_are_refused_before_they_are_decoded() -> None:
    whole = saved(Image.fromarray(PICTURE), "PNG")
    for side, words in ((10_000, "here: an image of 10000 x 10000 px"), (60_000, "here: .* exceeds limit")):
        start = whole[12:16] + struct.pack(">II", side, side) + whole[24:29]
        content = whole[:12] + start + struct.pack(">I", zlib.crc32(start)) + whole[33:]
        with pytest.raises(DataError, match=words):
            decode(content, "here")


@pytest.mark.parametrize("kind", ["EPS", "TIFF", "PPM"])
def test_formats_nobody_records_in_are_not_parsed(kind: str) -> None:
    with pytest.raises(DataError, match="not a readable image"):
        decode(saved(Image.fromarray(PICTURE), kind), "here")


def test_mutated_pictures_are_read_or_refused() -> None:
    rng = np.random.default_rng(1)
    for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP"):
        whole = saved(Image.fromarray(PICTURE), kind)
        for _ in range(60):
            content = bytearray(whole)
            for place in rng.integers(0, len(content), 3):
                content[place] = rng.integers(256)
            with contextlib.suppress(DataError):
                assert decode(bytes(content[: rng.integers(1, len(content) + 1)]), "here").ndim == 3


def test_scaling_keeps_a_picture_that_fits() -> None:
    assert scale(PICTURE, (12, 16)) is PICTURE
    assert scale(PICTURE, (6, 8)).shape == (6, 8, 3)
