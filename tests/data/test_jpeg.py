from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.data.jpeg import JpegFrames, decode_with_pillow, encode

SHAPE = (3, 10, 14)


def smooth_frames(count: int) -> NDArray[np.uint8]:
    ramp = np.linspace(0, 150, SHAPE[2], dtype=np.uint8) + np.zeros(SHAPE, np.uint8)
    return np.stack([ramp + np.uint8(7 * number) for number in range(count)])


def written(path: Path, images: NDArray[np.uint8]) -> JpegFrames:
    packed = [encode(image) for image in images]
    (path / "x.jpg").write_bytes(b"".join(packed))
    np.cumsum([len(content) for content in packed]).astype("<i8").tofile(path / "x.i64")
    return JpegFrames(path / "x.jpg", path / "x.i64", len(images), SHAPE)


def test_frames_come_back_within_a_few_levels(tmp_path: Path) -> None:
    images = smooth_frames(6)
    frames = written(tmp_path, images)
    assert (frames.shape, frames.dtype, len(frames)) == ((6, *SHAPE), np.uint8, 6)
    assert np.abs(np.asarray(frames).astype(int) - images).max() <= 4


@pytest.mark.parametrize(
    "index", [3, -1, slice(1, 4), slice(None), np.array([[5, 0], [0, 5]]), [4, 1, 1], np.arange(6) % 2 == 0]
)
def test_it_is_indexed_like_the_array_it_stands_for(tmp_path: Path, index: Any) -> None:  # noqa: ANN401
    frames = written(tmp_path, smooth_frames(6))
    whole = np.stack([frames[number] for number in range(6)])
    np.testing.assert_array_equal(frames[index], whole[index])
    assert frames[index].flags.c_contiguous


def test_simplejpeg_and_pillow_decode_to_the_same_pixels() -> None:
    simplejpeg = pytest.importorskip("simplejpeg")
    rng = np.random.default_rng(0)
    for image in [*smooth_frames(2), rng.integers(0, 256, SHAPE, dtype=np.uint8)]:
        content = np.frombuffer(encode(image), np.uint8)
        ours = np.empty((*SHAPE[1:], 3), np.uint8)
        decode_with_pillow(content, ours)
        np.testing.assert_array_equal(simplejpeg.decode_jpeg(content), ours)


@pytest.mark.parametrize("with_pillow", [False, True])
def test_damaged_bytes_and_other_sizes_name_file_and_frame(tmp_path: Path, with_pillow: bool) -> None:
    frames = written(tmp_path, smooth_frames(3))
    ends = np.fromfile(tmp_path / "x.i64", "<i8")
    content = bytearray((tmp_path / "x.jpg").read_bytes())
    content[ends[0] : ends[0] + 8] = bytes(8)
    (tmp_path / "x.jpg").write_bytes(content)
    larger = JpegFrames(tmp_path / "x.jpg", tmp_path / "x.i64", 3, (3, 10, 16))
    if with_pillow:
        frames._decode = larger._decode = decode_with_pillow
    with pytest.raises(DataError, match=r"x\.jpg: frame 1 cannot be decoded"):
        frames.take(np.array([0, 1]))
    with pytest.raises(DataError, match=r"frame 2 .*it is 10 x 14 px, 10 x 16 px are wanted"):
        larger.take(np.array([2]))
    assert frames[2].shape == SHAPE


def test_no_frames_are_an_empty_array(tmp_path: Path) -> None:
    frames = JpegFrames(tmp_path / "x.jpg", tmp_path / "x.i64", 0, SHAPE)
    assert np.asarray(frames).shape == (0, *SHAPE)
