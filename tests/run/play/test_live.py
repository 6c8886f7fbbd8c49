"""The game in time: frames come when something changes, wishes are fulfilled in order, slow drawing shrinks."""

from __future__ import annotations

import io
import json
import struct
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sinew.core.errors import DataError
from sinew.envs.tabletop.config import TabletopConfig
from sinew.run.play.cast import cast
from sinew.run.play.encoding import jpeg, png
from sinew.run.play.game import Game
from sinew.run.play.live import DRAW_S, SIZES, SURE, Fit, Live


@pytest.fixture
def live() -> Iterator[Live]:
    """Return a running game."""
    running = Live(Game(cast(TabletopConfig(image_size=16), None, name="test")))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    yield running
    running.stop()
    thread.join(60)
    assert not thread.is_alive()


def parts(frame: bytes) -> list[bytes]:
    """Return the parts of a frame."""
    found: list[bytes] = []
    while frame:
        (length,) = struct.unpack("<I", frame[:4])
        found.append(frame[4 : 4 + length])
        frame = frame[4 + length :]
    return found


def record(frame: bytes) -> dict[str, Any]:
    return json.loads(parts(frame)[0])


def test_a_frame_holds_the_state_the_picture_and_what_the_policy_sees(live: Live) -> None:
    found = parts(live.frame(0, 60))
    state = json.loads(found[0])
    assert (state["phase"], state["frame"]) == ("waiting", 1)
    sizes = [Image.open(io.BytesIO(part)).size for part in found[1:]]
    assert sizes == [(state["size"], state["size"]), (16, 16)]


def test_an_attempt_is_seen_from_frame_to_frame_until_its_end(live: Live) -> None:
    live.speed = 4.0
    live.do(lambda: live.game.say(live.game.ideas[0]))
    seen: list[dict[str, Any]] = []
    while not seen or seen[-1]["phase"] != "success":
        frame = live.frame(seen[-1]["frame"] if seen else 0, 60)
        assert frame, seen[-1:]
        seen.append(record(frame))
    ticks = [item["ticks"] for item in seen]
    assert ticks == sorted(ticks)
    assert len(seen) >= 3


def test_nothing_new_is_an_empty_answer_after_the_patience(live: Live) -> None:
    number = record(live.frame(0, 60))["frame"]
    newest = record(live.frame(number, 60))["frame"]  # the fine picture
    assert live.frame(newest, 0.05) == b""


def test_what_cannot_be_done_is_told_to_the_one_who_wished_it(live: Live) -> None:
    with pytest.raises(DataError, match="nothing was said"):
        live.do(lambda: live.game.say(""))
    assert live.do(lambda: live.game.phase) == "waiting"


def test_of_many_moves_the_last_one_counts(live: Live) -> None:
    done: list[int] = []
    entered, go = threading.Event(), threading.Event()

    def occupy() -> None:
        entered.set()
        go.wait(60)

    thread = threading.Thread(target=live.do, args=(occupy,))
    thread.start()
    assert entered.wait(60)
    for number in range(5):
        live.later(lambda number=number: done.append(number))
    go.set()
    thread.join(60)
    live.do(lambda: None)
    assert done == [4]


def test_sketches_shrink_where_drawing_is_slow_and_grow_where_it_is_fast() -> None:
    fit = Fit()
    for _ in range(SURE):
        fit.learn(2 * DRAW_S)
    assert fit.size == SIZES[1]
    for _ in range(SURE - 1):
        fit.learn(DRAW_S / 4)
    fit.relax()
    assert fit.size == SIZES[1]  # not sure yet
    fit.learn(DRAW_S / 4)
    fit.relax()
    assert fit.size == SIZES[0]
    for _ in range(20 * SURE):
        fit.learn(2 * DRAW_S)
    assert fit.size == SIZES[-1]


def test_one_slow_sketch_changes_nothing() -> None:
    fit = Fit()
    for cost in (DRAW_S / 3, 9.0, DRAW_S / 3, DRAW_S / 3, 9.0, DRAW_S / 3):
        fit.learn(cost)
    assert fit.size == SIZES[0]


def test_pictures_survive_being_sent() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(picture)))), picture)
    flat = np.full((16, 16, 3), (200, 30, 90), dtype=np.uint8)
    assert np.abs(np.asarray(Image.open(io.BytesIO(jpeg(flat)))).astype(int) - flat).max() <= 3
