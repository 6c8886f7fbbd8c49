from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from sinew.core.errors import DataError
from sinew.data.formats.video import Film, read_frames


def film_of(
    path: Path, count: int, fps: float, *, codec: str = "libx264", rate: Fraction | None = None, **options: str
) -> Path:
    """Write a film whose n-th frame has brightness 3 n."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate or Fraction(fps).limit_denominator(1000), options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"  # type: ignore[union-attr]
        for number in range(count):
            picture = np.full((64, 64, 3), 3 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))  # type: ignore[union-attr]
        container.mux(stream.encode())  # type: ignore[union-attr]
    return path


def brightness(path: Path, first: int, count: int, fps: float) -> list[int]:
    return [round(frame.mean() / 3) for frame in read_frames(path, first, count, fps=fps, where="film")]


@pytest.mark.parametrize("gop", ["1", "2", "250"])
@pytest.mark.parametrize("frames_ahead", ["0", "3"])
def test_every_run_of_frames_is_found(gop: str, frames_ahead: str, tmp_path: Path) -> None:
    """Also where key frames are far apart and frames refer to later ones."""
    path = film_of(tmp_path / "film.mp4", 30, 10, g=gop, bf=frames_ahead)
    for first in range(0, 30, 3):
        count = min(4, 30 - first)
        assert brightness(path, first, count, 10) == list(range(first, first + count))


def test_a_faster_film_is_read_at_the_datas_rate(tmp_path: Path) -> None:
    path = film_of(tmp_path / "film.mp4", 30, 30)
    assert brightness(path, 2, 5, 10) == [6, 9, 12, 15, 18]


def test_a_slower_film_is_refused_at_its_first_gap(tmp_path: Path) -> None:
    path = film_of(tmp_path / "film.mp4", 10, 5)
    with pytest.raises(DataError, match=r"film, frame 1: .* shows no frame at 0.1 s"):
        brightness(path, 0, 4, 10)


def test_our_films_repeat_byte_by_byte(tmp_path: Path) -> None:
    for name in ("one.mp4", "two.mp4"):
        with Film(tmp_path / name, (16, 16), 29.97) as film:
            for number in range(20):
                film.add(np.full((16, 16, 3), 10 * number, np.uint8))
        assert film.num_frames == 20
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_a_file_without_a_film_is_refused(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"not a film")
    with pytest.raises(DataError, match=r"film, frame 0: .* cannot be decoded"):
        brightness(tmp_path / "film.mp4", 0, 1, 10)
