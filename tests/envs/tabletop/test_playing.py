"""Playing: what is said in any words of this world is understood, and what a hand moves stays sound."""

from __future__ import annotations

import numpy as np
import pytest

from sinew.core.errors import DataError
from sinew.envs.playable import Playable
from sinew.envs.tabletop.config import TabletopConfig
from sinew.envs.tabletop.env import TabletopVecEnv
from sinew.envs.tabletop.expert import TabletopExpert
from sinew.envs.tabletop.judge import UNJUDGED
from sinew.envs.tabletop.language import SKILLS, TEMPLATES, UNSEEN, ZONE_SKILLS, Goal, Thing, sentences
from sinew.envs.tabletop.layout import Layout
from sinew.envs.tabletop.playing import CLEAR, understand

CONFIG = TabletopConfig(image_size=16)
LAYOUT = Layout(
    (Thing("red", "cube"), Thing("blue", "cube"), Thing("red", "ball")),
    np.array([[-0.15, 0.0], [0.0, 0.05], [0.15, -0.05]]),
    np.zeros(3),
    ("white", "orange"),
    np.array([[-0.1, 0.12], [0.1, 0.12]]),
)


@pytest.fixture
def env() -> TabletopVecEnv:
    world = TabletopVecEnv(CONFIG, 1)
    world.reset(["seen/lift/3"])
    return world


def run(env: TabletopVecEnv, ticks: int = 70) -> tuple[bool, str]:
    """Let the expert act until the attempt ends; return success and note."""
    expert = TabletopExpert(CONFIG)
    result = env.step(np.array([[0, 0, 0, env.rows[0].grip]], dtype=np.float32), render=False)
    for _ in range(ticks):
        if result.terminated[0] or result.truncated[0]:
            break
        result = env.step(expert.select_action(result.obs), render=False)
    return bool(result.success[0]), result.note[0]


def place_of(env: TabletopVecEnv, number: int) -> np.ndarray:
    """Return where an object appears in the picture."""
    return env.project(0, env.movables(0)[number].place[None])[0]


def test_the_world_can_be_played_with(env: TabletopVecEnv) -> None:
    assert isinstance(env, Playable)


@pytest.mark.parametrize("skill", SKILLS)
def test_every_sentence_of_the_world_is_understood(skill: str) -> None:
    for target in range(3):
        for zone in (0, 1) if skill in ZONE_SKILLS else (None,):
            goal = Goal(skill, target, zone)
            said = [
                text
                for group in (TEMPLATES, UNSEEN)
                for text in sentences(goal, LAYOUT.things, ("white", "orange"), group)
            ]
            assert [text for text in said if understand(text, LAYOUT) != goal] == []


@pytest.mark.parametrize(
    ("said", "goal"),
    [
        ("  Lift the BLUE cube! ", Goal("lift", 1)),
        ("Robot, could you grab the ball", Goal("lift", 2)),
        ("poke the blue one", Goal("touch", 1)),
        ("now move a blue cube to the orange area, please.", Goal("place", 1, 1)),
    ],
)
def test_other_words_for_the_same_are_understood(said: str, goal: Goal) -> None:
    assert understand(said, LAYOUT) == goal


@pytest.mark.parametrize(
    "said",
    [
        "",
        "hello",
        "lift the cube",  # there are two
        "lift the green cube",  # there is none
        "lift the blue ball",
        "do not lift the red cube",
        "lift the red cube and the blue cube",
        "lift the red cube twice",
        "lift the white cube",  # a colour of zones
        "push the red cube",  # where to?
        "push the red cube to the black zone",
        "push the red cube to the zone",  # there are two
        "push and lift the red cube",
        "put the red cube in the white zone and the orange zone",
    ],
)
def test_what_the_world_cannot_judge_is_not_understood(said: str) -> None:
    assert understand(said, LAYOUT) is None


def test_suggestions_are_understood_and_begin_with_different_ones(env: TabletopVecEnv) -> None:
    found = env.suggestions(0)
    meanings = [env.understand(0, text) for text in found]
    assert None not in meanings
    assert len({text.split()[0] for text in found[:4]}) >= 3
    assert len(found) == len(set(found)) >= 20


def test_one_attempt_follows_another_in_the_world_as_it_stands(env: TabletopVecEnv) -> None:
    first, second = env.movables(0)[:2]
    env.instruct(0, f"lift the {first.name}")
    assert run(env)[0]
    obs = env.instruct(0, f"now touch the {second.name}")
    assert obs.instruction == (f"now touch the {second.name}",)
    env.step(np.array([[0, 0, 0, 1]], dtype=np.float32), render=False)
    success, note = run(env)
    assert success, note


def test_a_sentence_that_is_not_understood_is_passed_on_and_only_its_time_is_judged(env: TabletopVecEnv) -> None:
    assert env.instruct(0, "sing a song").instruction == ("sing a song",)
    still = np.array([[0, 0, 0, 1]], dtype=np.float32)
    for _ in range(CONFIG.max_ticks - 1):
        result = env.step(still, render=False)
        assert not (result.terminated[0])
        assert not (result.truncated[0])
    result = env.step(still, render=False)
    assert (result.truncated[0], result.success[0], result.note[0]) == (True, False, UNJUDGED)


def test_a_state_id_can_carry_any_sentence(env: TabletopVecEnv) -> None:
    thing = env.movables(0)[1].name
    assert env.reset([env.told("seen/lift/3", f"tap the {thing}, please?")]).instruction == (
        f"tap the {thing}, please?",
    )
    assert run(env)[0]
    env.reset([env.told("seen/lift/3?silent", "what is 1/2?")])
    assert run(env) == (False, UNJUDGED)
    assert env.told("seen/lift/3", "hello") != "seen/lift/3"
    with pytest.raises(DataError, match="no state id"):
        env.told("lift/3", "hello")


def test_what_was_said_is_part_of_a_snapshot(env: TabletopVecEnv) -> None:
    name = env.movables(0)[1].name
    env.hold(0, 1, np.array([0.5, 0.5], dtype=np.float32))
    env.drop(0)
    before = env.instruct(0, f"touch the {name}")
    snapshot = env.get_state()
    other = TabletopVecEnv(CONFIG, 1)
    after = other.set_state(snapshot)
    assert after.instruction == before.instruction
    for key, value in before.privileged.items():
        np.testing.assert_array_equal(after.privileged[key], value)
    assert run(other) == run(env)
    assert other.rows[0].began.tolist() == env.rows[0].began.tolist()


def test_a_held_object_follows_the_hand_while_time_goes_on_and_nothing_is_judged(env: TabletopVecEnv) -> None:
    still = np.array([[0, 0, 0, 1]], dtype=np.float32)
    for point in ([0.3, 0.6], [0.5, 0.7]):
        env.hold(0, 0, np.array(point, dtype=np.float32))
        result = env.step(still, render=False)
        held = env.movables(0)[0].place
        below = held * [1, 1, 0] + [0, 0, 0.025]
        assert np.hypot(*(env.project(0, below[None].astype(np.float32))[0] - point)) < 0.01
        assert held[2] > 0.03
        assert not (result.terminated[0])
        assert not (result.truncated[0])


def test_an_object_is_put_down_clear_of_the_others_and_without_blame(env: TabletopVecEnv) -> None:
    env.instruct(0, f"touch the {env.movables(0)[0].name}")
    env.hold(0, 1, place_of(env, 2))
    env.drop(0)
    places = np.array([item.place for item in env.movables(0)])
    assert np.hypot(*(places[1] - places[2])[:2]) >= CLEAR - 1e-6
    result = env.step(np.array([[0, 0, 0, 1]], dtype=np.float32), render=False)
    after = np.array([item.place for item in env.movables(0)])
    assert not result.terminated[0], result.note
    np.testing.assert_allclose(after, places, atol=2e-3)


@pytest.mark.parametrize("point", [[-3.0, 9.0], [0.5, -5.0], [1.0, 0.0], [0.0, 0.02]])
def test_a_point_out_of_reach_means_the_nearest_within(env: TabletopVecEnv, point: list[float]) -> None:
    env.hold(0, 0, np.array(point, dtype=np.float32))
    env.drop(0)
    x, y, z = env.movables(0)[0].place
    assert abs(x) <= 0.221
    assert -0.156 <= y <= 0.171
    assert z < 0.04


def test_an_object_is_taken_out_of_the_gripper(env: TabletopVecEnv) -> None:
    env.instruct(0, f"lift the {env.movables(0)[0].name}")
    assert run(env)[0]
    env.hold(0, 0, np.array([0.2, 0.8], dtype=np.float32))
    env.drop(0)
    env.step(np.array([[0, 0, 0, 0]], dtype=np.float32), render=False)
    assert env.movables(0)[0].place[2] < 0.04
    assert env.rows[0].any_contact == (False, False)


def test_a_new_scene_forgets_what_was_held_and_said(env: TabletopVecEnv) -> None:
    plain = TabletopVecEnv(CONFIG, 1)
    expected = plain.reset(["seen/push/3"])
    env.instruct(0, "sing a song")
    env.hold(0, 1, np.array([0.5, 0.5], dtype=np.float32))
    obs = env.reset(["seen/push/3"])
    assert obs.instruction == expected.instruction
    np.testing.assert_array_equal(obs.images["front"], expected.images["front"])
    action = np.array([[0.01, 0, -0.02, 1]], dtype=np.float32)
    for _ in range(5):
        one, two = env.step(action), plain.step(action)
        np.testing.assert_array_equal(one.obs.state, two.obs.state)
    assert env.get_state() == plain.get_state()


@pytest.mark.parametrize(
    ("number", "point", "words"),
    [(7, [0.5, 0.5], "no object 7"), (-1, [0.5, 0.5], "no object -1"), (0, [0.5, float("nan")], "no point")],
)
def test_a_wrong_grip_is_refused(env: TabletopVecEnv, number: int, point: list[float], words: str) -> None:
    with pytest.raises(DataError, match=words):
        env.hold(0, number, np.array(point, dtype=np.float32))


@pytest.mark.parametrize("task", ["lift", "push"])
def test_the_hand_makes_itself_ready_without_moving_what_it_leaves(task: str) -> None:
    env = TabletopVecEnv(CONFIG, 1)
    env.reset([f"seen/{task}/3"])
    env.step(np.array([[0, 0, 0, 1]], dtype=np.float32), render=False)
    assert run(env)[0]
    before = np.array([item.place for item in env.movables(0)])
    ticks = 0
    while (action := env.ready(0)) is not None:
        env.step(action[None], render=False)
        ticks += 1
        assert ticks < 40
    after = np.array([item.place for item in env.movables(0)])
    np.testing.assert_allclose(after[:, :2], before[:, :2], atol=0.02)
    assert after[:, 2].max() < 0.04
    assert env.rows[0].any_contact == (False, False)
    assert env.rows[0].grip == 1.0
