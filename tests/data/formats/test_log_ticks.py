from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.writer import Writer

from sinew.core.errors import DataError
from sinew.data.formats.log_file import Log
from sinew.data.formats.log_ticks import Part, cut_in_parts
from sinew.data.formats.mcap_file import open_mcap
from sinew.data.formats.topic_map import Split, TopicMap, Values

MS = 1_000_000


def log_of(path: Path, **topics: list[tuple[int, Any]]) -> Log:
    """Write messages {"data": value} at milliseconds, as JSON, and open the log."""
    with (path / "a.mcap").open("wb") as file:
        writer = Writer(file)
        writer.start()
        for topic, rows in topics.items():
            channel = writer.register_channel(f"/{topic}", "json", 0)
            for stamp, value in rows:
                content = b'{"data": %s}' % str(value).replace("'", '"').encode()
                writer.add_message(channel, stamp * MS, content, stamp * MS)
        writer.finish()
    return Log(path / "a.mcap", [open_mcap(path / "a.mcap")])


def every(step: int, first: int, last: int) -> list[tuple[int, Any]]:
    return [(stamp, stamp) for stamp in range(first, last + 1, step)]


def said(**changes: Any) -> TopicMap:  # noqa: ANN401
    content: dict[str, Any] = {"hz": 10, "action": (Values("/act"),), "state": (Values("/pos"),), "stale_s": 0.25}
    return TopicMap(**(content | changes))


def parts_of(log: Log, **changes: Any) -> list[Part]:  # noqa: ANN401
    return list(cut_in_parts(log, said(**changes)))


def test_ticks_run_while_all_topics_are_heard(tmp_path: Path) -> None:
    log = log_of(tmp_path, pos=every(50, 100, 900), act=every(70, 130, 1200))
    (part,) = parts_of(log)
    assert (part.ticks // MS).tolist() == list(range(130, 901, 100))
    assert part.name == "a"


def test_a_tick_takes_the_last_message_not_after_it(tmp_path: Path) -> None:
    log = log_of(tmp_path, pos=every(50, 100, 900), act=every(70, 130, 1200))
    (part,) = parts_of(log)
    stamps = log.stamps("/act")
    assert (stamps[part.before("/act")] // MS).tolist() == [130, 200, 270, 410, 480, 620, 690, 830]
    assert (stamps[part.after("/act")] // MS).tolist() == [130, 270, 340, 480, 550, 690, 760, 830]
    assert (log.stamps("/pos")[part.before("/pos")] // MS).tolist() == [100, 200, 300, 400, 500, 600, 700, 800]


def test_ticks_stay_exact_at_the_thousandth(tmp_path: Path) -> None:
    log = log_of(tmp_path, pos=every(100, 0, 40_000), act=every(100, 0, 40_000))
    (part,) = parts_of(log, hz=30)
    assert part.ticks[1000] == round(1000 * 10**9 / 30)
    assert len(part.ticks) == 1201


def test_a_gap_is_refused_at_its_frame(tmp_path: Path) -> None:
    log = log_of(tmp_path, pos=[*every(50, 0, 500), *every(50, 900, 1500)], act=every(50, 0, 1500))
    (part,) = parts_of(log)
    assert len(part.before("/act")) == 16
    with pytest.raises(DataError, match=r"a\.mcap: a, frame 8: the message of /pos is 0.3 s away, 0.25 s are allowed"):
        part.before("/pos")
    with pytest.raises(DataError, match=r"frame 6: the message of /pos is 0.3 s away"):
        part.after("/pos")


def test_markers_cut_a_log_in_episodes(tmp_path: Path) -> None:
    marks: list[tuple[int, Any]] = [(200, "'go'"), (600, "'end'"), (700, "'pause'"), (1000, "'go'")]
    log = log_of(tmp_path, pos=every(20, 0, 1500), act=every(20, 10, 1500), mark=marks)
    first, second = parts_of(log, split=Split("/mark", begin="go", end="end"))
    assert (first.name, second.name) == ("a/0", "a/1")
    assert (first.ticks // MS).tolist() == [200, 300, 400, 500]
    assert (second.ticks // MS).tolist() == [1000, 1100, 1200, 1300, 1400]
    each = parts_of(log, split=Split("/mark"))
    assert [int(part.ticks[0] // MS) for part in each] == [200, 600, 700, 1000]


def test_what_was_said_during_and_before_an_episode_is_found(tmp_path: Path) -> None:
    log = log_of(
        tmp_path, pos=every(20, 0, 900), act=every(20, 0, 900), mark=[(300, 1), (600, 1)], say=[(100, 1), (400, 2)]
    )
    first, second = parts_of(log, split=Split("/mark"))
    assert first.during("/say").tolist() == [1]
    assert first.last("/say").tolist() == [0]
    assert second.during("/say").tolist() == []
    assert second.last("/say").tolist() == [1]


BAD: dict[str, tuple[dict[str, list[tuple[int, Any]]], dict[str, Any], str]] = {
    "silent": ({"pos": every(50, 0, 400), "act": every(50, 0, 400), "mark": [(500, 1)]}, {"split": Split("/mark")},
               "a/0: has no message of /act"),
    "apart": ({"pos": every(50, 0, 400), "act": every(50, 800, 1200)}, {}, "never heard together"),
    "clock": ({"pos": [(0, 0), (10**12, 0)], "act": [(0, 0), (10**12, 0)]}, {}, r"lasts 1e\+09 s with 4 messages"),
    "never": ({"pos": every(50, 0, 400), "act": every(50, 0, 400), "mark": [(500, 1)]},
              {"split": Split("/mark", begin=2)}, "no message of /mark begins an episode"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_logs_without_episodes_are_refused(tmp_path: Path, name: str) -> None:
    topics, changes, words = BAD[name]
    with pytest.raises(DataError, match=words):
        parts_of(log_of(tmp_path, **topics), **changes)


def test_an_empty_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no messages"):
        parts_of(log_of(tmp_path, pos=[], act=[]))


def test_stamps_of_an_episode_are_whole_nanoseconds(tmp_path: Path) -> None:
    (part,) = parts_of(log_of(tmp_path, pos=every(50, 0, 400), act=every(50, 0, 400)), hz=7)
    assert part.ticks.dtype == np.int64
    assert part.ticks.tolist() == [round(tick * 10**9 / 7) for tick in range(3)]
