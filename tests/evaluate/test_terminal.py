"""Pictures in a terminal."""

from __future__ import annotations

import numpy as np

from sinew.evaluate.terminal import half_blocks, shrink


def test_shrinking_averages_whole_areas() -> None:
    picture = np.zeros((8, 8, 3), dtype=np.uint8)
    picture[:4, :4] = 200
    small = shrink(picture, 2)
    assert small.shape == (2, 2, 3)
    assert small[..., 0].tolist() == [[200, 0], [0, 0]]


def test_a_character_holds_two_pixels() -> None:
    picture = np.zeros((2, 2, 3), dtype=np.uint8)
    picture[0, 0], picture[1, 0] = (10, 20, 30), (40, 50, 60)
    text = half_blocks(picture, 2)
    assert text.plain == "▀▀\n"
    assert str(text.spans[0].style) == "#0a141e on #28323c"
