from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from sinew.core.errors import SinewError
from sinew.evaluate.encode import jpeg_bytes, mp4_bytes, png_bytes, save, small_gif
from sinew.evaluate.frame import GOOD

RANDOM = np.random.default_rng(0)


def moving_square(count: int = 9) -> list[np.ndarray]:
    frames = []
    for number in range(count):
        frame = np.full((64, 96, 3), 40, dtype=np.uint8)
        frame[20:40, 8 * number : 8 * number + 16] = (200, 60, 30)
        frames.append(frame)
    return frames


def test_an_mp4_holds_every_frame_and_plays_in_browsers() -> None:
    frames = moving_square()
    content = mp4_bytes(frames, 12)
    assert content.index(b"moov") < content.index(b"mdat")  # it plays before it is loaded
    with av.open(io.BytesIO(content)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 12
        seen = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(seen) == len(frames)
    assert max(abs(a.astype(float) - b).mean() for a, b in zip(seen, frames, strict=True)) < 6


def test_a_gif_is_endless_and_keeps_rare_colours() -> None:
    frames = moving_square()
    frames[-1][0:3, 0:3] = GOOD
    with Image.open(io.BytesIO(small_gif(frames, 10, width=96, limit=100_000))) as image:
        assert image.size == (96, 64)
        assert image.info["loop"] == 0
        assert image.info["duration"] == 100
        assert image.n_frames == len(frames)
        image.seek(image.n_frames - 1)
        assert abs(np.array(image.convert("RGB").getpixel((1, 1))) - GOOD).max() <= 12


def test_a_gif_shrinks_until_it_fits_and_keeps_its_end() -> None:
    frames = [RANDOM.integers(0, 255, (64, 96, 3), dtype=np.uint8) for _ in range(12)]
    full = len(small_gif(frames, 10, width=96, limit=10**7))
    content = small_gif(frames, 10, width=96, limit=full // 6)
    assert len(content) <= full // 6
    with Image.open(io.BytesIO(content)) as image:
        assert image.width < 96


def test_a_gif_that_cannot_fit_says_so() -> None:
    with pytest.raises(SinewError, match="Film fewer ticks or use the MP4"):
        small_gif(moving_square(), 10, width=96, limit=10)


def test_stills_decode_to_what_was_given(tmp_path: Path) -> None:
    frame = moving_square()[3]
    path = save(tmp_path / "new" / "still.png", png_bytes(frame))
    with Image.open(path) as still:
        assert (np.asarray(still) == frame).all()
    with Image.open(io.BytesIO(jpeg_bytes(frame, width=48))) as small:
        assert small.size == (48, 32)
