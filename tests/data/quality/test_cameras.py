from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from data.quality.healthy import healthy, put
from sinew.data.quality.cameras import dead_cameras


@pytest.mark.parametrize(
    ("where", "value", "words", "severity", "frames"),
    [
        (slice(None), 0, "wrist is black", "error", (0, 39)),
        (slice(5, 8), 9, "wrist is black", "warning", (5, 7)),
        (slice(20, 21), 128, "one even grey", "warning", (20, 20)),
    ],
)
def test_a_camera_that_shows_nothing_is_found(
    where: slice, value: int, words: str, severity: str, frames: tuple[int, int]
) -> None:
    episode = healthy(0)
    images = {**episode.images, "wrist": put(episode.images["wrist"], where, value)}
    (found,) = dead_cameras(dataclasses.replace(episode, images=images))
    assert (found.kind, found.severity, found.frames) == ("camera", severity, frames)
    assert words in found.evidence


def test_an_image_of_zeros_and_ones_is_black() -> None:
    episode = healthy(0)
    images = {name: (item > 100).astype(np.uint8) for name, item in episode.images.items()}
    assert {item.severity for item in dead_cameras(dataclasses.replace(episode, images=images))} == {"error"}


def test_a_night_with_one_light_is_no_dead_camera() -> None:
    dark = np.full((5, 3, 64, 96), 5, np.uint8)
    dark[:, :, 7, 11] = 90  # one pixel, which a coarse look misses
    assert list(dead_cameras(healthy(0, 5, images={"front": dark}))) == []


def test_a_camera_that_stands_still_while_the_robot_moves_is_found() -> None:
    episode = healthy(0)
    front = episode.images["front"]
    for first, last, severity in ((10, 30, "warning"), (0, 39, "error")):
        images = {"front": put(front, slice(first, last + 1), front[first])}
        (found,) = dead_cameras(dataclasses.replace(episode, images=images))
        assert (found.severity, found.frames) == (severity, (first, last))
        assert "same image while the robot moves" in found.evidence


def test_equal_images_of_a_robot_that_stands_are_fine() -> None:
    episode = healthy(0)
    front = episode.images["front"]
    images = {"front": put(front, slice(10, 31), front[10])}
    state = put(episode.state, slice(10, 31), episode.state[10])
    assert list(dead_cameras(dataclasses.replace(episode, images=images, state=state))) == []


def test_a_slow_camera_is_fine() -> None:
    episode = healthy(0)
    images = {"front": episode.images["front"][np.arange(40) // 5 * 5]}
    assert list(dead_cameras(dataclasses.replace(episode, images=images))) == []
