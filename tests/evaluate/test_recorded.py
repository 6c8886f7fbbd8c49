"""The report of a run on recordings: it says what was measured and asks the network for nothing."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from sinew.evaluate.chart import Curve
from sinew.evaluate.offline import OfflineError, Replay
from sinew.evaluate.recorded import HEIGHT, WIDTH, RecordedContent, render, scales, traces, write_recorded

ERROR = OfflineError(
    action=("dx", "grip"),
    units=("m", "1"),
    error=(0.002, 0.1),
    shuffled=(0.006, 0.2),
    frames=40,
    ranges=(0.1, 1.0),
    tolerance=(0.005, 0.05),
    accuracy=0.85,
    episodes=3,
)
REPLAY = Replay(
    episode="episode_7",
    instruction="pick up the <part>",
    action=("dx", "grip"),
    units=("m", "1"),
    hz=10.0,
    ranges=(0.1, 1.0),
    recorded=((0.0, 1.0), (0.02, 1.0), (0.04, 0.0)),
    predicted=((0.01, 1.0), (0.02, 1.0), (0.04, 1.0)),
)
CONTENT = RecordedContent(
    name="bc",
    command="sinew train bc --data log.hdf5",
    held_out=ERROR,
    training=dataclasses.replace(ERROR, error=(0.001, 0.0), accuracy=0.99),
    replays=(REPLAY,),
    moments=((0.5, 0.08, 0.7), (1.0, 0.06, 0.85)),
    chosen=0.5,
    taken=("12 of 20 weights taken",),
    curves=(Curve("loss", (1.0, 2.0), (0.4, 0.2), lower_is_better=True),),
    facts={"data": {"episodes": "50"}},
    config={"seed": 0},
    next=(("sinew export runs/bc --to onnx", "for the robot"),),
    date="2030-01-01",
)


def test_the_page_says_what_was_measured(tmp_path: Path) -> None:
    page = write_recorded(tmp_path, CONTENT).read_text()
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)).replace("\xa0", " ").replace("&nbsp;", " ")
    for part in (
        "Right in 85 % of the steps of 3 recordings it never saw",
        "off by 6.00 % of its range",
        "the error changes by +117 %",
        "This is no success rate",
        "dx 0.002 2.0 % 0.001 0.006 0.005 m",
        "episode_7: “pick up the &lt;part&gt;”, 0.3 s",
        "after 50 % of the training was taken",
        "sinew export runs/bc --to onnx",
        "12 of 20 weights taken",
    ):
        assert part in text


def test_the_page_asks_the_network_for_nothing() -> None:
    page = render(CONTENT)
    assert "default-src 'none'" in page
    assert re.findall(r'(?:src|href)="(?!data:|#)', page) == []


def test_one_sentence_is_admitted_to_say_nothing_about_words() -> None:
    page = render(dataclasses.replace(CONTENT, held_out=dataclasses.replace(ERROR, shuffled=None)))
    assert "cannot tell whether the words matter" in page
    assert "Another sentence" not in page


def test_bare_content_is_enough() -> None:
    page = render(RecordedContent("bc", "sinew train bc", ERROR, ERROR))
    assert "Replays" not in page
    assert "Learning" not in page


def test_all_episodes_are_drawn_on_one_scale_for_each_action() -> None:
    wide = dataclasses.replace(REPLAY, recorded=tuple((10 * dx, grip) for dx, grip in REPLAY.recorded))
    limits = scales([REPLAY, wide])
    narrow, large = traces(REPLAY, limits), traces(wide, limits)
    assert (narrow[0].top, narrow[0].bottom) == (large[0].top, large[0].bottom)
    assert narrow[0].recorded != traces(REPLAY, scales([REPLAY]))[0].recorded
    page = render(dataclasses.replace(CONTENT, replays=(REPLAY, wide)))
    assert page.count(f'aria-label="dx from {large[0].bottom} to {large[0].top} m') == 2


def test_a_trace_is_drawn_within_its_box_and_names_its_error() -> None:
    first, second = traces(REPLAY, scales([REPLAY]))
    assert (first.name, first.unit, first.top, first.bottom) == ("dx", "m", "0.04", "0")
    assert float(first.error) == pytest.approx(0.01 / 3, rel=0.01)
    assert float(second.error) == pytest.approx(1 / 3, rel=0.01)
    for path in (first.recorded, first.predicted, second.recorded):
        numbers = [float(value) for value in re.findall(r"[\d.]+", path)]
        assert max(numbers[0::3] + numbers[2::3]) <= WIDTH
        assert max(numbers[1::3]) <= HEIGHT
    assert first.recorded != first.predicted
