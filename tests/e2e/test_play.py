"""The page in a real browser: a sentence is typed, an object is lifted, another is dragged, and nothing complains."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from browser import Page, open_page
from sinew.core.local_page import LocalPage
from sinew.envs.tabletop.config import TabletopConfig
from sinew.run.play.cast import cast
from sinew.run.play.game import Game
from sinew.run.play.live import Live
from sinew.run.play.web import Web

ENDED = "['success', 'failure', 'late'].includes(state.phase)"
LONG = 120.0
"""Seconds to wait for what the world does; other work may share the cores."""


@dataclass
class Opened:
    """The page in a browser, and the game behind it."""

    page: Page
    game: Game


@pytest.fixture(scope="module")
def running() -> Iterator[Opened]:
    """Return a page that is open in a browser; the scripted expert plays."""
    live = Live(Game(cast(TabletopConfig(), None, name="scripted expert", shield=True), seed=1))
    live.speed = 2.0
    web = Web(live)
    thread = threading.Thread(target=live.run, daemon=True)
    thread.start()
    try:
        with LocalPage(web.get, web.post) as server, open_page(server.url, width=1280, height=800) as page:
            page.wait_for("state", LONG)
            yield Opened(page, live.game)
    finally:
        live.stop()
        thread.join(60)


@pytest.fixture
def opened(running: Opened) -> Iterator[Opened]:
    """Return the page with a scene in which nothing was said; afterwards its console must be empty."""
    page = running.page
    page.evaluate("scene()")
    page.wait_for(f"state.scene === {running.game.state_id!r}", LONG)
    yield running
    assert page.complaints == []


def said(game: Game, word: str) -> str:
    """Return a suggestion with this word."""
    return next(idea for idea in game.ideas if word in idea)


def seen_at(page: Page, number: int) -> tuple[float, float]:
    """Return where a thing is in the window."""
    x, y = page.evaluate(f"[state.things[{number}].x, state.things[{number}].y]")
    return page.place("#stage", x, y)


def test_a_sentence_is_typed_and_the_object_is_lifted(opened: Opened) -> None:
    page, game = opened.page, opened.game
    sentence = said(game, "lift")
    page.press(sentence[0])  # nothing has the focus: typing goes into the field
    page.type(sentence[1:])
    page.wait_for("document.querySelector('#hint').textContent === 'Understood'", LONG)
    assert page.evaluate("document.querySelectorAll('.named').length") == 1
    page.press("Enter")
    page.wait_for("state.phase === 'acting'", LONG)
    page.wait_for(ENDED, LONG)
    assert page.text("#state").startswith("Done in")
    lifted = next(item for item in game.env.movables(0) if item.name in sentence)
    assert lifted.place[2] > 0.09
    assert sentence in page.text("#tries")
    assert page.evaluate("$('picture').width === state.size && $('own').firstChild.width === 64")
    page.wait_for("state.size === 720", LONG)  # the fine picture, once all is still


def test_an_object_is_dragged(opened: Opened) -> None:
    page, game = opened.page, opened.game
    start = seen_at(page, 1)
    before = game.env.movables(0)[1].place
    goal = page.place("#stage", 0.5, 0.9)
    page.drag(start, goal, steps=12)
    page.wait_for("!drag && !hand.busy && state.held === null", LONG)
    page.wait_for("state.things[1].y > 0.6", LONG)
    until = time.monotonic() + LONG  # let go, it falls the last centimetre
    while (after := game.env.movables(0)[1].place)[2] > before[2] + 1e-3 and time.monotonic() < until:
        time.sleep(0.05)
    assert np.linalg.norm(after - before) > 0.03
    assert after[2] == pytest.approx(before[2], abs=1e-3)


def test_the_keys_pause_step_and_move(opened: Opened) -> None:
    page, game = opened.page, opened.game
    page.evaluate("tell('speed', { speed: 0.25 })")
    page.evaluate(f"send({said(game, 'touch')!r})")
    page.wait_for("state.phase === 'acting'", LONG)
    page.press(" ")
    page.wait_for("state.phase === 'paused'", LONG)
    ticks = game.ticks + game.readied
    page.press("ArrowRight")
    page.wait_for("state.phase === 'paused'", LONG)
    assert game.ticks + game.readied <= ticks + 1
    x = page.evaluate("state.things[0].x")
    page.evaluate("document.querySelector('.thing').focus()")
    for _ in range(3):
        page.press("ArrowLeft" if x > 0.5 else "ArrowRight")
    page.wait_for(f"Math.abs(state.things[0].x - {x}) > 0.03", LONG)
    page.press("Enter")
    page.wait_for("state.held === null", LONG)
    page.evaluate("tell('speed', { speed: 2 })")


def test_what_is_not_understood_is_said_and_nothing_moves(opened: Opened) -> None:
    page = opened.page
    page.press("s")
    page.type("ing a song")
    page.press("Enter")
    page.wait_for("document.querySelector('#hint').dataset.tone === 'bad'", LONG)
    assert "suggestions" in page.text("#hint")
    assert opened.game.phase == "waiting"


def test_the_tab_key_completes_a_suggestion(opened: Opened) -> None:
    page = opened.page
    idea = opened.game.ideas[0]
    page.press(idea[0])
    page.type(idea[1:8])
    page.wait_for(f"document.querySelector('#ghost').textContent.startsWith({idea[:8]!r})")
    page.press("Tab")
    assert page.evaluate("input.value") in opened.game.ideas
    page.press("Escape")


def test_the_shield_can_be_taken_away(opened: Opened) -> None:
    page = opened.page
    page.click("#shield")
    page.wait_for("state.shielded === false", LONG)
    assert "as they are" in page.text("#changed")
    page.click("#shield")
    page.wait_for("state.shielded === true", LONG)


@pytest.mark.parametrize(("width", "height"), [(390, 844), (844, 390), (1024, 768), (1600, 1000)])
def test_nothing_overflows_on_any_screen(opened: Opened, width: int, height: int) -> None:
    page = opened.page
    page.window(width, height, dark=width < 1000)
    page.wait_for("innerWidth > 0 && document.querySelector('#picture').getBoundingClientRect().width > 200")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = "[...document.querySelectorAll('.controls > *')].every(e => e.getBoundingClientRect().right <= innerWidth)"
    assert page.evaluate(wide)
    page.window(1280, 800)
