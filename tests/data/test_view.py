from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from data.quality.healthy import SPEC, healthy, put, store_of
from sinew.core.types import SensorSpec
from sinew.data.dataset import open_any
from sinew.data.view import episode_content, spread, write_view


def test_the_page_stands_alone_and_shows_what_was_asked_for(tmp_path: Path) -> None:
    evil = '<script>alert(1)</script> & "lift"'
    episodes = [healthy(number) for number in range(3)]
    black = {**episodes[2].images, "wrist": put(episodes[2].images["wrist"], slice(4, 9), 0)}
    episodes += [healthy(3, instruction=evil), healthy(4, images=black, success=False)]
    write_view(open_any(store_of(tmp_path / "my set", episodes)), (0, 3, 4), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("<article") == 3
    assert len(re.findall(r"url\(data:image/jpeg;base64,", page)) == 6
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &#34;lift&#34;" in page
    assert evil not in page
    assert page.count("<script>") == 1
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "camera wrist is black, frames 4 to 8" in page
    assert "5 episodes, 200 frames, 20 s of arm at 10 Hz" in page


def test_curves_pass_through_every_extreme() -> None:
    episode = healthy(0, 3000)
    state = put(episode.state, (1777, 0), 9.0)
    curve = episode_content(healthy(0, 3000, state=state), 7)["curves"][0]
    points = np.array([pair.split(",") for pair in curve.points.split()], dtype=float)
    assert (curve.name, curve.unit, curve.high) == ("shoulder", "rad", "9")
    assert points[points[:, 1].argmin(), 0] == pytest.approx(1777 / 2.999, abs=0.1)
    assert len(points) <= 480
    assert (points[:, 1].min(), points[:, 1].max()) == (0.0, 100.0)


def test_values_that_are_no_numbers_or_never_change_are_drawn() -> None:
    episode = healthy(0)
    state = put(put(episode.state, (slice(None), 0), np.nan), (slice(None), 1), 2.5)
    content = episode_content(healthy(0, state=put(state, (3, 2), np.inf)), 0)
    nothing, even, some = content["curves"][:3]
    assert (nothing.points, nothing.values[0]) == ("", "nan")
    assert set(even.points.split()[0].split(",")[1:]) == {"50.0"}
    assert len(some.points.split()) == 39
    assert content["quality"] == "0.00"
    assert {mark["kind"] for mark in content["marks"]} == {"nan"}


def test_a_set_without_cameras_and_with_sensors_is_shown(tmp_path: Path) -> None:
    sensors = {"force": SensorSpec((2,), "N", 10.0), "depth": SensorSpec((4, 4), "mm", 10.0, "uint16")}
    readings = {"force": np.ones((40, 2), np.float32), "depth": np.zeros((40, 4, 4), np.uint16)}
    spec = dataclasses.replace(SPEC, cameras={}, sensors=sensors)
    episode = healthy(0, spec=spec, images={}, sensors=readings, reward=np.arange(40, dtype=np.float32))
    write_view(open_any(store_of(tmp_path / "s", [episode])), (0,), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "base64" not in page
    assert page.count('<figure class="curve') == 4 + 2 + 1 + 3
    assert "force 1 <i>N</i>" in page


def test_one_frame_and_odd_counts_are_spread() -> None:
    assert spread(1, 6) == (0,)
    assert spread(10, 4) == (0, 3, 6, 9)
    assert spread(3, 9) == (0, 1, 2)
    assert episode_content(healthy(0, 1), 0)["ticks"] == [0]
