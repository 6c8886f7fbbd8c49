"""The game: what is said is tried and judged, what is moved stays put, and what one sees is true."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import pytest

from sinew.core.errors import DataError
from sinew.core.types import NumpyObservation, RobotSpec, Rows
from sinew.envs.tabletop.config import TabletopConfig
from sinew.run.play.cast import cast
from sinew.run.play.game import LONGEST, Game, tidy

CONFIG = TabletopConfig(image_size=16)


class Clairvoyant:
    """The expert, that also points at the truth; ``reads`` like a trained policy."""

    def __init__(self) -> None:
        self.expert = CONFIG.expert()
        self.seen: Mapping[str, np.ndarray] = {}

    @property
    def spec(self) -> RobotSpec:
        return self.expert.spec

    def reset(self, rows: Rows = None) -> None:
        self.expert.reset(rows)

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> np.ndarray:
        self.seen = {"target": obs.privileged["target"], "goal": np.nan_to_num(obs.privileged["goal"])}
        return self.expert.select_action(obs, rows)

    def points(self) -> Mapping[str, np.ndarray]:
        return self.seen


def new_game(*, expert: bool = True, shield: bool = False) -> Game:
    return Game(cast(CONFIG, None if expert else Clairvoyant(), name="test", shield=shield), seed=1)


def play(game: Game, ticks: int = 200) -> str:
    """Let time go on until the attempt ends; return how."""
    for _ in range(ticks):
        if game.phase != "acting":
            break
        game.tick()
    return game.phase


def sentence(game: Game, word: str) -> str:
    """Return the first suggestion with this word."""
    return next(idea for idea in game.ideas if word in idea)


def test_what_is_said_is_done_and_counted() -> None:
    game = new_game()
    assert game.look()["phase"] == "waiting"
    said = sentence(game, "lift")
    game.say(f"  {said}. ")
    assert play(game) == "success"
    assert [(item.sentence, item.success) for item in game.tries] == [(said, True)]
    assert game.tries[0].ticks == game.look()["ticks"] > 5


def test_one_sentence_follows_another_after_the_robot_made_itself_ready() -> None:
    game = new_game()
    for word in ("lift", "touch", "put", "lift"):
        game.say(sentence(game, word))
        assert play(game) == "success", game.note
    held = [item.place[2] for item in game.env.movables(0)]
    game.say(sentence(game, "touch"))
    game.tick()
    assert not game.look()["ready"]
    assert game.look()["ticks"] == 0
    while not game.look()["ready"]:
        game.tick()
    assert max(held) > 0.09 > max(item.place[2] for item in game.env.movables(0))


def test_what_no_world_can_judge_is_tried_and_ends_out_of_time() -> None:
    game = new_game(expert=False)
    game.say("sing a song")
    assert play(game) == "late"
    assert game.tries[-1].success is None
    assert not game.look()["judged"]


def test_the_expert_refuses_what_it_does_not_understand() -> None:
    game = new_game()
    with pytest.raises(DataError, match="suggestions"):
        game.say("sing a song")
    assert game.phase == "waiting"


def test_again_begins_where_the_last_sentence_began() -> None:
    game = new_game()
    game.say(sentence(game, "lift"))
    play(game)
    game.say(sentence(game, "touch"))
    before = game.env.movables(0)
    assert play(game) == "success"
    first = game.tries[-1]
    game.again()
    assert game.phase == "acting"
    assert [item.place.tolist() for item in game.env.movables(0)] == [item.place.tolist() for item in before]
    assert play(game) == "success"
    assert game.tries[-1] == first


def test_again_without_a_sentence_puts_the_scene_back() -> None:
    game = new_game()
    before = game.env.get_state([0])
    game.hold(0, (0.5, 0.6))
    game.drop()
    game.again()
    assert (game.phase, game.env.get_state([0])) == ("waiting", before)


def test_time_stands_still_while_paused_but_for_single_steps() -> None:
    game = new_game()
    with pytest.raises(DataError, match="Say something"):
        game.go_on()
    game.say(sentence(game, "lift"))
    for _ in range(3):
        game.tick()
    game.pause()
    ticks = game.ticks
    game.step()
    assert (game.phase, game.ticks) == ("paused", ticks + 1)
    game.go_on()
    assert play(game) == "success"
    game.go_on()  # the same sentence once more
    assert game.phase == "acting"


def test_things_can_be_moved_while_the_policy_acts() -> None:
    game = new_game()
    game.say(sentence(game, "lift"))
    number = next(k for k, item in enumerate(game.env.movables(0)) if item.name in game.sentence)
    for x in np.linspace(0.3, 0.6, 8):
        game.hold(number, (x, 0.6))
        assert game.look()["held"] == number
        game.tick()
    game.drop()
    assert game.look()["held"] is None
    assert play(game) == "success", game.note


def test_where_the_policy_points_is_shown_with_its_error() -> None:
    game = new_game(expert=False)
    for word, names in (("lift", ["target"]), ("put", ["target", "goal"])):
        game.say(sentence(game, word))
        while not game.look()["ready"]:
            game.tick()
        game.tick()
        marks = game.look()["marks"]
        assert [mark["name"] for mark in marks] == names
        assert [mark["off"] for mark in marks] == pytest.approx([0.0] * len(names))
        at = game.look()["named"][0]
        assert (marks[0]["x"], marks[0]["y"]) == pytest.approx(at, abs=1e-4)


def test_points_of_a_sentence_that_is_not_judged_have_no_error() -> None:
    game = new_game(expert=False)
    game.say("sing a song")
    game.tick()
    assert [(mark["name"], mark["off"]) for mark in game.look()["marks"]] == [("target", None), ("goal", None)]


def test_the_shield_changes_what_is_done_and_says_where() -> None:
    game = new_game(shield=True)
    game.say(sentence(game, "lift"))
    cut = np.zeros(4, dtype=np.int64)
    while game.phase == "acting":
        game.tick()
        look = game.look()
        cut += np.abs(np.subtract(look["wish"], look["executed"])) > 1e-5 if look["ready"] else 0
    assert look["changed"] == cut.tolist()
    assert cut[:3].any()
    assert cut[3] == 0
    game.shield(on=False)
    game.again()
    play(game)
    assert game.look()["changed"] == [0, 0, 0, 0]


def test_a_robot_without_known_limits_has_no_shield() -> None:
    game = new_game()
    game.guarded = None
    assert not game.about()["has_shield"]
    with pytest.raises(DataError, match="--limits"):
        game.shield(on=True)


def test_scenes_follow_from_the_seed_and_their_kind_must_exist() -> None:
    one, other = new_game(), new_game()
    assert one.state_id == other.state_id
    one.scene()
    assert one.state_id != other.state_id
    one.scene("crowded")
    assert one.state_id.startswith("crowded/")
    assert len(one.look()["things"]) > len(other.look()["things"])
    with pytest.raises(DataError, match="no split 'nowhere'"):
        one.scene("nowhere")


def test_what_one_sees_is_plain_json() -> None:
    game = new_game(expert=False, shield=True)
    for said in (sentence(game, "lift"), "sing a song"):
        game.say(said)
        for _ in range(5):
            game.tick()
            json.dumps([game.look(), game.about(), game.understand(said)], allow_nan=False)


def test_a_sentence_is_understood_while_it_is_typed() -> None:
    game = new_game()
    idea = sentence(game, "put")
    found = game.understand(f"Please {idea}!")
    assert found["plain"] == idea
    assert len(found["named"]) == 2
    assert game.understand("sing")["plain"] is None
    assert game.understand("  ") == {"plain": None, "named": [], "unknown": []}


def test_a_sentence_is_read_without_its_end_mark() -> None:
    assert tidy("  lift   it! ") == "lift it"


@pytest.mark.parametrize("said", ["", " \n ", "...", "a\x00b", "x" * (LONGEST + 1)])
def test_no_sentence_is_no_sentence(said: str) -> None:
    with pytest.raises(DataError, match=r"said|characters"):
        tidy(said)
