from __future__ import annotations

from pathlib import Path

import av
import pytest

from sinew.core.errors import ConfigError, DataError, SpecError
from sinew.envs.tabletop.config import TabletopConfig
from sinew.run.play.cast import actor, cast
from sinew.run.play.film import film_sentence, fitting_state
from sinew.safety.shield import ShieldedPolicy
from toy import ToyConfig

CONFIG = TabletopConfig(image_size=16)


def test_a_sentence_becomes_a_film_of_a_scene_in_which_it_makes_sense(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path, outcome = film_sentence(
        cast(CONFIG, None, name="test"), "Touch the red ball!", state_id=None, out=None, size=64
    )
    assert path == Path("touch-the-red-ball.mp4")
    assert outcome.success
    with av.open(str(path)) as film:
        assert sum(1 for _ in film.decode(video=0)) > outcome.ticks


def test_a_scene_can_be_named(tmp_path: Path) -> None:
    party = cast(CONFIG, None, name="test", shield=True)
    party.env.reset(["seen/lift/7"], [0])
    said = f"touch the {party.env.movables(0)[0].name}"
    _, outcome = film_sentence(party, said, state_id="seen/lift/7", out=tmp_path / "a.mp4", size=64)
    assert outcome.state_id.startswith("seen/lift/7?")
    assert outcome.success


def test_a_sentence_that_makes_sense_nowhere_begins_in_the_first_scene() -> None:
    party = cast(CONFIG, None, name="test")
    assert fitting_state(party.env, "sing a song") == party.env.states("seen", party.env.tasks[0], 1)[0]


def test_the_expert_says_what_it_would_understand(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Say, for example: lift"):
        film_sentence(cast(CONFIG, None, name="test"), "sing", state_id=None, out=tmp_path / "a.mp4", size=64)
    assert not (tmp_path / "a.mp4").exists()


def test_the_shield_stands_in_between_only_where_it_is_wanted() -> None:
    assert isinstance(actor(cast(CONFIG, None, name="test", shield=True)), ShieldedPolicy)
    plain = cast(CONFIG, None, name="test")
    assert actor(plain) is plain.policy


def test_a_world_without_hands_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be played with"):
        cast(ToyConfig(), None, name="test")


def test_a_policy_of_another_robot_is_refused() -> None:
    with pytest.raises(SpecError, match="move"):
        cast(CONFIG, ToyConfig().expert(), name="test")
