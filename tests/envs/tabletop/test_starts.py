from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from sinew.core.errors import ConfigError, DataError
from sinew.envs.tabletop import starts
from sinew.envs.tabletop.config import HUES, STAGES, TabletopConfig
from sinew.envs.tabletop.language import SKILLS, TEMPLATES, UNSEEN, Goal, all_sentences, sentences
from sinew.envs.tabletop.layout import Layout, all_things, held_out, is_feasible
from sinew.envs.tabletop.scene import COLOURS, ZONE_COLOURS

CONFIG = TabletopConfig()


def some(split: str, count: int = 12, config: TabletopConfig = CONFIG) -> list[starts.Start]:
    return [starts.start(config, f"{split}/{task}/{index}") for task in SKILLS for index in range(count)]


def goals(layout: Layout) -> list[Goal]:
    zones = range(len(layout.zones))
    things = range(len(layout.things))
    plain = [Goal(skill, k) for skill in ("touch", "lift") for k in things]
    return plain + [Goal(skill, k, z) for skill in ("place", "push") for k in things for z in zones]


def meanings(sentence: str, layout: Layout) -> list[Goal]:
    groups = (TEMPLATES, UNSEEN)
    return [
        goal
        for goal in goals(layout)
        for group in groups
        if sentence in set(sentences(goal, layout.things, layout.zone_colours, group))
    ]


def test_an_id_gives_the_same_scene_in_another_process() -> None:
    code = (
        "from sinew.envs.tabletop import starts; from sinew.envs.tabletop.config import TabletopConfig; import json;"
        "s = starts.start(TabletopConfig(), 'train/push/3');"
        "print(json.dumps([s.instruction, s.layout.places.tolist(), s.pose.hand.tolist()]))"
    )
    there = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    here = starts.start(CONFIG, "train/push/3")
    assert there == [here.instruction, here.layout.places.tolist(), here.pose.hand.tolist()]


def test_an_id_keeps_its_meaning_for_ever() -> None:
    scene = starts.start(CONFIG, "seen/push/17")
    assert (scene.instruction, scene.goal) == ("please push the green object into the black area", Goal("push", 1, 0))
    np.testing.assert_allclose(scene.layout.places[0], [0.09708685614014137, 0.03919590293385386], rtol=0, atol=1e-12)


def test_held_out_pairs_are_targets_in_their_split_only() -> None:
    excluded = held_out(CONFIG)
    assert len({thing.shape for thing in excluded}) == CONFIG.shapes
    assert 0.15 < len(excluded) / len(all_things(CONFIG)) < 0.25
    for split in starts.splits(CONFIG):
        targets = {scene.layout.things[scene.goal.target] for scene in some(split)}
        assert targets <= excluded if split == "pairs" else not targets & excluded


def test_every_word_for_a_colour_that_has_a_hue_holds_it() -> None:
    assert set(HUES) == {*COLOURS, *ZONE_COLOURS} - {"white", "black"}


def test_splits_share_no_scene() -> None:
    places = [scene.layout.places.tobytes() for split in starts.SPLITS for scene in some(split, 6)]
    assert len(set(places)) == len(places)


def test_crowded_has_twice_the_distractors() -> None:
    assert {len(scene.layout.things) for scene in some("seen", 4)} == {3}
    assert {len(scene.layout.things) for scene in some("crowded", 4)} == {5}


def test_unseen_templates_use_known_words_and_are_new() -> None:
    for skill in SKILLS:
        assert len(TEMPLATES[skill]) >= 8
        assert len(UNSEEN[skill]) >= 3
        assert not set(UNSEEN[skill]) & {text for group in TEMPLATES.values() for text in group}
    known = {word for group in TEMPLATES.values() for text in group for word in text.split()}
    assert {word for group in UNSEEN.values() for text in group for word in text.split()} <= known


def test_unseen_templates_are_said_in_their_split_only() -> None:
    for split in ("train", "seen", "templates"):
        for scene in some(split, 6):
            heard = sentences(scene.goal, scene.layout.things, scene.layout.zone_colours, TEMPLATES)
            assert (scene.instruction in set(heard)) == (split != "templates")


@pytest.mark.parametrize("config", STAGES[:3], ids=["first", "second", "default"])
def test_every_sentence_means_one_goal_in_its_scene(config: TabletopConfig) -> None:
    for split in starts.splits(config):
        for scene in some(split, 5, config):
            assert meanings(scene.instruction, scene.layout) == [scene.goal]


def test_all_sentences_holds_what_is_said() -> None:
    every = set(all_sentences(tuple(COLOURS), ("cube", "ball", "cylinder"), tuple(ZONE_COLOURS)))
    assert {scene.instruction for split in starts.SPLITS for scene in some(split, 6)} <= every


def test_attributes_are_left_out_at_times() -> None:
    said = [scene.instruction for scene in some("seen", 40)]
    assert any(" object" in text for text in said)
    assert any("the ball" in text for text in said)


def test_things_lie_apart_and_the_way_is_free() -> None:
    for scene in some("seen", 10):
        points = np.concatenate([scene.layout.places, scene.layout.zones])
        gaps = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
        assert gaps[np.triu_indices(len(points), 1)].min() >= 0.10
        assert is_feasible(scene.goal, scene.layout)


def test_a_blocked_way_is_no_goal_for_pushing() -> None:
    scene = starts.start(CONFIG, "seen/push/0")
    layout = scene.layout
    places = layout.places.copy()
    other = (scene.goal.target + 1) % 3
    places[other] = (places[scene.goal.target] + layout.zones[0]) / 2
    blocked = Layout(layout.things, places, layout.yaws, layout.zone_colours, layout.zones)
    assert not is_feasible(scene.goal, blocked)
    assert is_feasible(Goal("place", scene.goal.target, 0), blocked)


def test_some_training_episodes_begin_in_the_middle() -> None:
    def closed(split: str, config: TabletopConfig) -> float:
        return float(np.mean([scene.pose.grip == 0.0 for scene in some(split, 25, config)]))

    assert closed("seen", CONFIG) == 0.0
    assert 0.1 < closed("train", CONFIG) < 0.4
    assert closed("train", TabletopConfig(mid_starts=0.0)) == 0.0


def test_variants_name_another_goal_in_the_same_scene() -> None:
    for base in (f"seen/{task}/{index}" for task in SKILLS for index in range(12)):
        scene = starts.start(CONFIG, base)
        wrong, other = (starts.start(CONFIG, f"{base}?{name}") for name in ("wrong", "other"))
        for new in (wrong, other):
            np.testing.assert_array_equal(new.layout.places, scene.layout.places)
            np.testing.assert_array_equal(new.pose.hand, scene.pose.hand)
            assert meanings(new.instruction, new.layout) != [scene.goal]
        assert wrong.goal == scene.goal
        assert meanings(other.instruction, other.layout) == [other.goal]
        assert is_feasible(other.goal, other.layout)
        assert meanings(wrong.instruction, wrong.layout)[0].skill == scene.goal.skill
        silent = starts.start(CONFIG, f"{base}?silent")
        assert (silent.instruction, silent.goal) == ("", scene.goal)


def test_other_goals_are_of_every_kind() -> None:
    changes = set()
    for index in range(40):
        scene, new = starts.start(CONFIG, f"seen/push/{index}"), starts.start(CONFIG, f"seen/push/{index}?other")
        old, goal = scene.goal, new.goal
        changes.add("skill" if goal.skill != old.skill else "object" if goal.target != old.target else "zone")
    assert changes == {"skill", "object", "zone"}


@pytest.mark.parametrize(
    "state_id", ["seen/push", "seen/push/x", "seen/fly/1", "night/push/1", "seen/push/1?loud", "seen/push/-1"]
)
def test_an_unknown_id_is_refused_with_its_name(state_id: str) -> None:
    with pytest.raises(DataError, match="tabletop"):
        starts.start(CONFIG, state_id)


def test_a_variant_of_a_variant_is_refused() -> None:
    with pytest.raises(DataError, match="variant already"):
        starts.variant(CONFIG, "seen/push/1?wrong", "silent")


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="objects is 9"):
        TabletopConfig(objects=9)
    with pytest.raises(ConfigError, match="cannot make 4"):
        TabletopConfig(objects=4, colours=2, shapes=1)
    with pytest.raises(ConfigError, match="image_size 2"):
        TabletopConfig(image_size=2)


def test_the_showcase_is_one_scene_with_a_task_for_every_skill() -> None:
    starting = [starts.start(CONFIG, name) for name in starts.showcase(CONFIG, 4)]
    assert {one.goal.skill for one in starting} == {"touch", "lift", "place", "push"}
    assert len({one.instruction for one in starting}) == 4
    assert all(np.array_equal(one.layout.places, starting[0].layout.places) for one in starting)


@pytest.mark.parametrize("name", ["lift.9", "push.0", "push.0.7", "lift.x", "fly.0"])
def test_a_goal_that_the_scene_lacks_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="names no goal"):
        starts.start(CONFIG, f"seen/push/1?{name}")
