from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sinew.data.hold import Hold, frames_held

SIZE = 40
MIDDLE = (14 / SIZE, 0.5)


def film(lefts: list[int], *, side: int = 8, noise: float = 0.0) -> NDArray[np.uint8]:
    """Return frames of a bright square with its left edge at these columns, and of a dark one that stays."""
    rng = np.random.default_rng(0)
    frames = np.full((len(lefts), 3, SIZE, SIZE), 90.0) + noise * rng.standard_normal((len(lefts), 3, SIZE, SIZE))
    frames[:, :, 34:38, 34:38] -= 60
    for frame, left in zip(frames, lefts, strict=True):
        frame[:, 20 - side // 2 : 20 + side // 2, left : left + side] += 100
    return frames.clip(0, 255).astype(np.uint8)


def test_a_label_holds_while_nothing_moves() -> None:
    assert frames_held(film([10] * 7), MIDDLE) == 7


def test_noise_of_a_camera_is_no_change() -> None:
    assert frames_held(film([10] * 50, noise=5.0), MIDDLE) == 50


@pytest.mark.parametrize("side", [2, 4, 8, 12, 16])
def test_a_label_ends_when_its_thing_moves_by_a_pixel_however_large_it_is(side: int) -> None:
    assert frames_held(film([10, 10, 10, 11, 12], side=side), ((10 + side / 2) / SIZE, 0.5)) == 3


def test_a_label_stays_ended_when_the_thing_comes_back() -> None:
    assert frames_held(film([10, 10, 20, 10, 10]), MIDDLE) == 2


def test_slow_changes_add_up() -> None:
    frames = film([10] * 20)
    frames += 2 * np.arange(20, dtype=np.uint8)[:, None, None, None]
    assert frames_held(frames, MIDDLE) == 7


def test_what_happens_elsewhere_does_not_matter() -> None:
    assert frames_held(film([10, 14, 18]), (36 / SIZE, 36 / SIZE)) == 3


@pytest.mark.parametrize("noise", [0.0, 5.0])
def test_a_label_on_an_even_surface_holds_for_its_own_frame_only(noise: float) -> None:
    assert frames_held(film([0] * 5, noise=noise), (0.6, 0.15)) == 1


@pytest.mark.parametrize("place", [(0.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
def test_a_label_at_the_edge_of_the_image_is_watched_too(place: tuple[float, float]) -> None:
    still = np.repeat(np.random.default_rng(0).integers(0, 256, (1, 3, SIZE, SIZE), dtype=np.uint8), 3, axis=0)
    changed = still.copy()
    changed[2] = 255 - changed[2]
    assert (frames_held(still, place), frames_held(changed, place)) == (3, 2)


def test_a_larger_change_can_be_allowed() -> None:
    frames = film([10] * 2)
    frames[1] += 20
    assert (frames_held(frames, MIDDLE), frames_held(frames, MIDDLE, Hold(change=30))) == (1, 2)
