"""What the page may ask: everything else is refused with a sentence."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sinew.core.errors import DataError
from sinew.envs.tabletop.config import TabletopConfig
from sinew.run.play.cast import cast
from sinew.run.play.game import Game
from sinew.run.play.live import Live
from sinew.run.play.web import WISHES, Web


@pytest.fixture
def web() -> Iterator[Web]:
    """Return what answers the page of a running game."""
    live = Live(Game(cast(TabletopConfig(image_size=16), None, name="test")))
    thread = threading.Thread(target=live.run, daemon=True)
    thread.start()
    yield Web(live)
    live.stop()
    thread.join(60)


def test_the_page_needs_nothing_from_elsewhere(web: Web) -> None:
    reply = web.get("")
    assert reply is not None
    page = reply.body.decode()
    assert reply.kind.startswith("text/html")
    assert set(re.findall(r"https?://[^'\"\s]+", page)) == {"http://www.w3.org/2000/svg"}
    assert re.findall(r"<(?:script|style)(?! nonce=\"%NONCE%\")", page) == []
    assert 'style="' not in page


def test_every_wish_of_the_page_exists(web: Web) -> None:
    reply = web.get("")
    assert reply is not None
    asked = set(re.findall(r"(?:wish|tell)\(\"(\w+)\"", reply.body.decode()))
    assert asked == set(WISHES) - {"say"} | {"say"}


def test_questions_are_answered(web: Web) -> None:
    about, frame = web.get("about"), web.get("frame/0")
    assert about is not None
    assert frame is not None
    assert json.loads(about.body)["name"] == "test"
    assert len(frame.body) > 1000
    assert [web.get(path) for path in ("frame/x", "frame/", "frame/-1", "frame/" + "9" * 40, "nothing")] == [None] * 5


def test_wishes_are_fulfilled(web: Web) -> None:
    game = web.live.game
    before = game.state_id
    for path, content in [
        ("say", {"sentence": game.ideas[0]}),
        ("play", {"on": False}),
        ("step", {}),
        ("play", {"on": True}),
        ("hold", {"thing": 0, "x": 0.5, "y": 0.5}),
        ("hold", {"thing": 0, "x": 1, "y": 0.5}),
        ("drop", {}),
        ("again", {}),
        ("speed", {"speed": 2}),
        ("shield", {"on": True}),
    ]:
        reply = web.post(path, content)
        assert reply is not None
        assert json.loads(reply.body) == {"result": None}, path
    assert (game.shielded, web.live.speed, game.held) == (True, 2.0, None)
    reply = web.post("understand", {"sentence": game.ideas[0]})
    assert reply is not None
    assert json.loads(reply.body)["result"]["plain"]
    web.post("scene", {"split": "crowded"})
    assert game.state_id != before
    assert web.post("nothing", {}) is None


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        ("say", [], "JSON object"),
        ("say", {}, "sentence is None"),
        ("say", {"sentence": 7}, "sentence is 7"),
        ("play", {"on": 1}, "on is 1"),
        ("speed", {"speed": 3}, "speed 3"),
        ("hold", {"thing": True, "x": 0, "y": 0}, "thing is True"),
        ("hold", {"thing": 0, "x": "a", "y": 0}, "x is 'a'"),
        ("hold", {"thing": 0, "x": float("nan"), "y": 0}, "x is nan"),
        ("hold", {"thing": 0, "x": float("inf"), "y": 0}, "x is inf"),
    ],
)
def test_malformed_wishes_are_refused(web: Web, path: str, content: Any, words: str) -> None:  # noqa: ANN401  (any JSON value)
    with pytest.raises(DataError, match=words):
        web.post(path, content)


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        ("say", {"sentence": "  "}, "nothing was said"),
        ("say", {"sentence": "sing a song"}, "suggestions"),
        ("play", {"on": True}, "nothing to do yet"),
        ("scene", {"split": "nowhere"}, "no split"),
        ("hold", {"thing": 99, "x": 0, "y": 0}, "no object 99"),
    ],
)
def test_what_cannot_be_done_is_answered_with_a_sentence(web: Web, path: str, content: Any, words: str) -> None:  # noqa: ANN401
    reply = web.post(path, content)
    assert reply is not None
    assert reply.status == 200
    assert words in json.loads(reply.body)["error"]
