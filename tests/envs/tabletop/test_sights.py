from __future__ import annotations

import numpy as np
import pytest

from sinew.core.errors import ConfigError
from sinew.envs.tabletop import asking
from sinew.envs.tabletop.config import TabletopConfig
from sinew.envs.tabletop.language import Thing
from sinew.envs.tabletop.layout import held_out
from sinew.envs.tabletop.sights import TabletopSights

CONFIG = TabletopConfig(image_size=24, colours=6)
RED_CUBE, BLUE_BALL = Thing("red", "cube"), Thing("blue", "ball")
PLACES = np.array([[-0.1, 0.1], [0.1, -0.1]])


@pytest.fixture(scope="module")
def sights() -> TabletopSights:
    return TabletopSights(CONFIG)


def test_questions_have_the_answers_that_the_scene_gives() -> None:
    asked = {question.text: question.answer for question in asking.questions((RED_CUBE, BLUE_BALL), PLACES)}
    assert asked["how many objects are there ?"] == "two"
    assert asked["what colour is the cube ?"] == "red"
    assert asked["what shape is the blue object ?"] == "ball"
    assert asked["in which corner is the cube ?"] == "back left"
    assert asked["what colour is the object furthest to the right ?"] == "blue"
    assert asked["what shape is the object furthest to the front ?"] == "ball"
    assert asked["is the red object left of the ball ?"] == "yes"
    assert asked["is the red object in front of the ball ?"] == "no"


def test_what_is_not_clear_is_not_asked() -> None:
    close = np.array([[0.0, 0.1], [0.01, 0.1]])
    kinds = {question.kind for question in asking.questions((RED_CUBE, BLUE_BALL), close)}
    assert kinds == {"count", "colour", "shape"}
    twice = {question.text for question in asking.questions((RED_CUBE, Thing("green", "cube")), PLACES)}
    assert "what colour is the cube ?" not in twice


def test_captions_go_from_left_to_right_and_are_scored_by_things() -> None:
    told = asking.caption((BLUE_BALL, RED_CUBE), PLACES[::-1])
    assert told == "two : red cube x1 y5 ; blue ball x6 y0"
    assert asking.score(told, told) == 1.0
    assert asking.score(told, "two : red cube x2 y4 ; blue ball x6 y0") == 1.0
    assert asking.score(told, "two : red ball x1 y5 ; blue ball x6 y0") == 0.5
    assert asking.score(told, "one : red cube x1 y5") == 0.5
    assert asking.score(told, f"{told} ; red cube x1 y5 ; red cube x1 y5") == 0.5
    assert asking.score(told, "nothing") == 0.0


def test_scenes_come_from_their_names_alone(sights: TabletopSights) -> None:
    one, two = sights.look("train", "two", 5), TabletopSights(CONFIG).look("train", "two", 5)
    assert (one.caption, one.questions) == (two.caption, two.questions)
    assert one.image.tobytes() == two.image.tobytes()
    assert one.caption != sights.look("seen", "two", 5).caption
    with pytest.raises(
        ConfigError, match=r"no scenes train/nine; splits are train, seen, pairs, groups one, two, three"
    ):
        sights.look("train", "nine", 0)


def test_unseen_pairs_are_only_in_their_own_split(sights: TabletopSights) -> None:
    unknown = {f"{thing.colour} {thing.shape}" for thing in held_out(CONFIG)}
    for number in range(12):
        assert not any(
            pair in sights.look(split, "three", number).caption for pair in unknown for split in ("train", "seen")
        )
        scene = sights.look("pairs", "two", number)
        assert any(pair in scene.caption for pair in unknown)
        assert {question.kind for question in scene.questions} == {"colour", "shape"}


def test_every_word_is_among_the_texts(sights: TabletopSights) -> None:
    known = {word for text in sights.texts() for word in text.split()}
    for split in sights.splits:
        for group in sights.groups:
            scene = sights.look(split, group, 1)
            said = [scene.caption, *(text for question in scene.questions for text in (question.text, question.answer))]
            assert {word for text in said for word in text.split()} <= known


def test_answers_are_even_where_guessing_must_not_help(sights: TabletopSights) -> None:
    rng_free = [asking.questions((RED_CUBE, BLUE_BALL), PLACES * sign) for sign in (1, -1)]
    answers = [question.answer for questions in rng_free for question in questions if question.kind == "relation"]
    assert answers.count("yes") == answers.count("no")
    assert len(sights.groups) == 3
