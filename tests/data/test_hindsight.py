"""What recordings tell of themselves: keyframes, where the robot acted next, and what it moved in the images."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sinew.core.types import CameraSpec, RobotSpec
from sinew.data.episode import Episode
from sinew.data.hindsight import find_moved, keyframes, moved_places, next_states
from sinew.data.store import Store

SIZE, GRASP, TICKS = 48, 8, 14
SPEC = RobotSpec(
    embodiment="arm",
    cameras={"front": CameraSpec(SIZE, SIZE)},
    state=("x", "y"),
    state_units=("m", "m"),
    action=("dx", "grip"),
    action_units=("m", "1"),
    low=(-1.0, 0.0),
    high=(1.0, 1.0),
    hz=10.0,
    kind="delta",
    binary=("grip",),
)


def draw(picture: NDArray[np.uint8], place: NDArray[np.float64], colour: tuple[int, int, int], half: int) -> None:
    """Draw a square of a colour."""
    column, row = (place * SIZE).astype(int)
    rows, columns = slice(max(0, row - half), row + half + 1), slice(max(0, column - half), column + half + 1)
    picture[:, rows, columns] = np.asarray(colour)[:, None, None]


def episode(number: int) -> tuple[Episode, NDArray[np.float64]]:
    """Return an episode in which a hand carries a red thing up while a blue one stays, and where that was."""
    random = np.random.default_rng(number)
    thing = random.uniform((0.15, 0.5), (0.45, 0.85))
    other = random.uniform((0.6, 0.5), (0.85, 0.85))
    start, end = np.array([0.9, 0.12]), np.array([0.2, 0.1])
    way = [start + (thing - start) * min(1.0, tick / GRASP) for tick in range(GRASP + 1)]
    way += [thing + (end - thing) * tick / (TICKS - GRASP - 1) for tick in range(1, TICKS - GRASP)]
    images = np.full((TICKS, 3, SIZE, SIZE), 90, dtype=np.uint8)
    for tick, hand in enumerate(way):
        draw(images[tick], thing if tick <= GRASP else hand, (220, 30, 30), 2)
        draw(images[tick], other, (30, 30, 220), 2)
        draw(images[tick], hand, (160, 160, 160), 3)
    action = np.zeros((TICKS, 2), np.float32)
    action[GRASP:, 1] = 1.0
    state = np.asarray(way, dtype=np.float32)
    made = Episode(SPEC, {"front": images}, state, action, action, "lift it", "lift", True, id=f"episode_{number}")
    return made, thing


@pytest.fixture
def store(tmp_path: Path) -> tuple[Store, NDArray[np.float64]]:
    """Return 24 episodes and where the thing was in each."""
    made = Store.create(tmp_path / "store", SPEC)
    episodes, things = zip(*(episode(number) for number in range(24)), strict=True)
    made.append(episodes)
    return made, np.array(things)


def test_keyframes_are_lasting_changes_of_a_gripper_and_the_end() -> None:
    action = np.zeros((20, 2), np.float32)
    action[4:6, 1] = 1.0  # a slip of the finger
    action[9:15, 1] = 1.0
    assert keyframes(action, (False, True)).tolist() == [9, 15, 19]
    assert keyframes(action, (False, False)).tolist() == [19]


def test_the_next_state_is_that_of_the_next_keyframe(store: tuple[Store, NDArray[np.float64]]) -> None:
    made, things = store
    targets = next_states(made).reshape(24, TICKS, 2)
    assert np.allclose(targets[:, : GRASP + 1], things[:, None], atol=1e-6)
    assert np.array_equal(targets[:, GRASP + 1 :], np.repeat(targets[:, -1:], TICKS - GRASP - 1, axis=1))


def test_what_is_moved_is_found_and_what_stays_is_not(store: tuple[Store, NDArray[np.float64]]) -> None:
    made, things = store
    places = moved_places(made).reshape(24, TICKS, 2)
    assert np.abs(places[:, : GRASP + 1] - things[:, None]).max() < 2.5 / SIZE
    assert np.isnan(places[:, GRASP + 1 :]).all()


def test_without_a_rule_a_place_is_known_until_the_image_around_it_changes(tmp_path: Path) -> None:
    made = Store.create(tmp_path / "store", SPEC)
    episodes, things = zip(*(episode(number) for number in range(6)), strict=True)  # too few to fit anything
    made.append(episodes)
    places = moved_places(made).reshape(6, TICKS, 2)
    found = np.isfinite(places[:, 0, 0])
    assert found.sum() >= 4
    assert np.abs(places[found, 0] - np.array(things)[found]).max() < 2.5 / SIZE
    assert np.isnan(places[:, GRASP]).all()


def test_an_episode_that_moves_nothing_gives_nothing() -> None:
    made, _ = episode(0)
    still = np.repeat(made.images["front"][:1], TICKS, axis=0)
    empty = np.full((3, SIZE, SIZE), 90, dtype=np.float32)
    assert find_moved(still, empty, GRASP) is None


def test_a_place_that_was_mistaken_is_put_where_the_hand_went(tmp_path: Path) -> None:
    made = Store.create(tmp_path / "store", SPEC)
    episodes, things = map(list, zip(*(episode(number) for number in range(24)), strict=True))
    pictures = episodes[5].images["front"].copy()
    pictures[:, :, 40:46, 2:8] = 20  # something dark that is taken away for good when the hand acts
    pictures[GRASP:, :, 40:46, 2:8] = 90
    pictures[: GRASP + 1, :, 30:32, 30:32] = 90
    episodes[5] = dataclasses.replace(episodes[5], images={"front": pictures})
    made.append(episodes)
    places = moved_places(made).reshape(24, TICKS, 2)
    assert np.abs(places[5, 0] - things[5]).max() < 2.5 / SIZE
