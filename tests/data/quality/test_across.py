from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from data.quality.healthy import SPEC, healthy, put
from sinew.core.types import RobotSpec
from sinew.data.episode import Episode
from sinew.data.quality.across import across, balance, outcomes, sentences
from sinew.data.quality.findings import Finding
from sinew.data.quality.measures import measure

EPISODES = [healthy(number) for number in range(8)]


def found(episodes: list[Episode], spec: RobotSpec = SPEC, **options: Any) -> list[Finding]:  # noqa: ANN401
    """Return what shows across the episodes."""
    return list(across(spec, {number: measure(item, (0, 0)) for number, item in enumerate(episodes)}, **options))


def changed(number: int, **changes: Any) -> list[Episode]:  # noqa: ANN401
    """Return healthy episodes with another one in the place of one of them."""
    return [dataclasses.replace(item, **changes) if index == number else item for index, item in enumerate(EPISODES)]


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_nothing_is_found_in_healthy_data(count: int) -> None:
    assert found(EPISODES[:count]) == []
    assert list(across(SPEC, {})) == []


def test_equal_episodes_are_found() -> None:
    (same,) = found([*EPISODES, EPISODES[2]])
    assert (same.kind, same.episode, same.evidence) == ("duplicate", 8, "is equal to episode 2")
    images = {name: item + 1 for name, item in EPISODES[2].images.items()}
    (alike,) = found([*EPISODES, dataclasses.replace(EPISODES[2], images=images)])
    assert (alike.kind, alike.episode) == ("duplicate", 8)
    assert "images or instruction differ" in alike.evidence


def test_equal_numbers_that_say_nothing_are_fine() -> None:
    still = [dataclasses.replace(item, state=item.state * 0, action=item.action * 0) for item in EPISODES[:2]]
    assert [item for item in found(still) if item.kind == "duplicate"] == []


def test_short_episodes_are_found_and_successes_only_noted() -> None:
    short = healthy(9, 4)
    (noted,) = found([*EPISODES, short])
    assert (noted.severity, noted.episode) == ("note", None)
    assert "1 episodes are much shorter than usual (40 frames)" in noted.evidence
    (told,) = found([*EPISODES, short], judged=False)
    assert (told.kind, told.severity, told.episode) == ("short", "warning", 8)
    (failed,) = found([*EPISODES, healthy(9, 4, success=False)])
    assert failed.severity == "warning"


@pytest.mark.parametrize("count", [1, 2, 8])
def test_a_leap_is_found_with_its_frame(count: int) -> None:
    state = put(EPISODES[0].state, (slice(12, None), 0), EPISODES[0].state[12:, 0] + 1.2)
    jumps = [item for item in found(changed(0, state=state)[:count]) if item.kind == "jump"]
    (jump,) = jumps
    assert (jump.episode, jump.frames, jump.point) == (0, (12, 12), True)
    assert "shoulder leaps by 1.2" in jump.evidence or "shoulder leaps by 1.1" in jump.evidence


def test_an_angle_that_wraps_around_is_called_so() -> None:
    state = put(EPISODES[1].state, (slice(20, None), 1), EPISODES[1].state[20:, 1] + 2 * math.pi)
    (jump,) = [item for item in found(changed(1, state=state)) if item.kind == "jump"]
    assert "wraps around" in jump.evidence


def test_a_value_that_stands_for_long_or_for_good_is_found() -> None:
    for where, frames in ((slice(10, 30), (11, 29)), (slice(None), None)):
        frozen = found(changed(3, state=put(EPISODES[3].state, (where, 0), EPISODES[3].state[10, 0])))
        (stuck,) = [item for item in frozen if item.kind == "frozen"]
        assert (stuck.kind, stuck.episode, stuck.frames) == ("frozen", 3, frames)
        assert "shoulder" in stuck.evidence


def test_a_value_that_rests_at_its_end_is_fine() -> None:
    highest = max(item.state[:, 0].max() for item in EPISODES)
    rests = found(changed(3, state=put(EPISODES[3].state, (slice(10, 30), 0), highest)))
    assert [item for item in rests if item.kind == "frozen"] == []


def scaled(factor: float, columns: tuple[int, ...], only: int | None = None) -> list[Episode]:
    """Return the episodes, or one of them, with some state values in another unit."""
    factors = np.ones(4, np.float32)
    factors[list(columns)] = factor
    return [
        dataclasses.replace(item, state=item.state * factors) if only in (None, number) else item
        for number, item in enumerate(EPISODES)
    ]


def test_degrees_called_radians_and_the_other_way_round_are_found() -> None:
    (wrong,) = found(scaled(180 / math.pi, (0, 1)))
    assert (wrong.kind, wrong.severity, wrong.episode) == ("units", "error", None)
    assert "said to be in rad, this looks like degrees" in wrong.evidence
    degrees = dataclasses.replace(SPEC, state_units=("deg", "deg", "m", "1"))
    (wrong,) = found(EPISODES, degrees)
    assert "said to be in degrees, this looks like rad" in wrong.evidence


def test_millimetres_called_metres_are_found() -> None:
    (wrong,) = found(scaled(1000, (2,)))
    assert "state z moves at" in wrong.evidence
    assert wrong.evidence.endswith("said to be in m, this looks like millimetres")


def test_a_car_in_metres_is_fine() -> None:
    places = np.cumsum(np.full((40, 1), 3.3, np.float32), axis=0) + 900  # 33 m/s at 10 Hz, 900 m from the origin
    cars = [
        dataclasses.replace(item, state=np.hstack([item.state[:, :2], places, item.state[:, 3:]])) for item in EPISODES
    ]
    assert [item for item in found(cars) if item.kind == "units"] == []


def test_actions_in_another_unit_are_found() -> None:
    spec = dataclasses.replace(SPEC, low=(-99.0, -99.0, 0.0), high=(99.0, 99.0, 1.0))
    wide = [dataclasses.replace(item, action=item.action * np.float32([57.3, 57.3, 1])) for item in EPISODES]
    (wrong,) = found(wide, spec)
    assert wrong.evidence.startswith("action shoulder reaches")
    (bounds,) = found(EPISODES, dataclasses.replace(SPEC, low=(-180.0, -180.0, 0.0), high=(180.0, 180.0, 1.0)))
    assert (bounds.kind, bounds.severity) == ("bounds", "warning")
    assert "less than 2% of their bounds" in bounds.evidence
    assert (
        found(EPISODES, dataclasses.replace(SPEC, low=(-1e30,) * 3, high=(1e30,) * 3), unsaid=frozenset({"low"})) == []
    )


def test_one_episode_in_another_unit_is_found() -> None:
    wrong = [item for item in found(scaled(57.3, (0, 1), only=4)) if item.kind == "units"]
    assert [(item.severity, item.episode) for item in wrong] == [("error", 4)]
    assert "all angles of the state are" in wrong[0].evidence


def test_missing_sentences_and_rare_tasks_are_found() -> None:
    silent = list(sentences(["lift it", " ", "drop it", ""]))
    assert [(item.kind, item.severity, item.episode) for item in silent] == [
        ("instruction", "error", 1),
        ("instruction", "error", 3),
    ]
    assert list(balance(["lift"] * 10 + ["drop"])) == []
    assert list(balance(["lift"] * 30)) == []
    (rare,) = balance(["lift"] * 30 + ["drop"] * 2 + ["turn"])
    assert rare.evidence == "few episodes of turn (1), drop (2); of lift there are 30"


def test_failures_are_noted_and_nothing_but_failures_is_told() -> None:
    good, bad = measure(EPISODES[0], (0, 0)), measure(dataclasses.replace(EPISODES[1], success=False), (0, 0))
    assert list(outcomes({0: good})) == []
    (noted,) = outcomes({0: good, 1: bad})
    assert (noted.severity, noted.evidence) == ("note", "1 of 2 episodes are marked as failed")
    (told,) = outcomes({0: bad, 1: bad})
    assert told.severity == "warning"
