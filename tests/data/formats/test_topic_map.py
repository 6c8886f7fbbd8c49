from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sinew.core.errors import DataError
from sinew.data.formats.log_file import Channel, Log, LogFile, entries_of, sorted_entries
from sinew.data.formats.topic_map import Reading, Split, TopicMap, Values, map_file, read_map

WHOLE = TopicMap(
    hz=10,
    action=(Values("/cmd"),),
    state=(Values("/joint", ("position",)), Values("/cmd")),
    cameras={"front": "/image"},
    sensors={"imu": Reading("/imu", "1")},
    instruction="/say",
    success="/good",
    split=Split("/mark"),
)


def log_of(path: Path, *topics: str) -> Log:
    """Return a log with two messages a second apart on each topic."""
    stamps = np.array([10**9, 2 * 10**9])
    entries = [entries_of(stamps, number, 0, stamps, "here") for number in range(len(topics))]
    channels = {number: Channel(topic, "a/B", "cdr") for number, topic in enumerate(topics)}
    return Log(path, [LogFile(path, channels, sorted_entries(entries), lambda _: iter(()))])


def test_topics_that_move_and_all_topics_are_told_apart() -> None:
    assert WHOLE.moving == ("/image", "/cmd", "/joint", "/imu")
    assert WHOLE.topics == ("/image", "/cmd", "/joint", "/imu", "/say", "/good", "/mark")


def test_the_map_lies_beside_a_file_and_in_a_directory(tmp_path: Path) -> None:
    assert map_file(tmp_path / "a.mcap") == tmp_path / "a.topics.json"
    assert map_file(tmp_path) == tmp_path / "topics.json"


def test_a_map_is_read_with_its_defaults(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    map_file(path).write_text(json.dumps({"hz": 5, "action": [{"topic": "/cmd"}]}))
    assert read_map(path, log_of(path, "/cmd")) == TopicMap(hz=5, action=(Values("/cmd"),))


def test_a_missing_map_lists_topics_with_their_rates(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    with pytest.raises(DataError, match="will not be guessed") as caught:
        read_map(path, log_of(path, "/b", "/a"))
    assert "  /a  a/B  2 messages, 1 Hz\n  /b  a/B  2 messages, 1 Hz\n" in str(caught.value)
    assert str(map_file(path)) in str(caught.value)


BAD: dict[str, tuple[Any, str]] = {
    "list": ([], "not a valid TopicMap"),
    "unknown": ({"hz": 1, "action": [{"topic": "/cmd"}], "states": []}, "states"),
    "text as rate": ({"hz": "fast", "action": [{"topic": "/cmd"}]}, "hz"),
    "no action": ({"hz": 1, "action": []}, "an action are needed"),
    "rate": ({"hz": 1e9, "action": [{"topic": "/cmd"}]}, "hz from above 0 to 1000"),
    "age": ({"hz": 1, "stale_s": 0, "action": [{"topic": "/cmd"}]}, "stale_s above 0"),
    "topic": ({"hz": 1, "action": [{"topic": "/other"}]}, "has no topic /other"),
    "sentence": ({"hz": 1, "action": [{"topic": "/cmd"}], "instruction": ""}, "instruction's topic has no name"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_map_with_mistakes_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.mcap"
    map_file(path).write_text(json.dumps(BAD[name][0]))
    with pytest.raises(DataError, match=BAD[name][1]) as caught:
        read_map(path, log_of(path, "/cmd"))
    assert "a.topics.json" in str(caught.value)


def test_a_topic_of_two_types_is_refused_only_where_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    log = log_of(path, "/cmd", "/other")
    log.mixed["/other"] = "a/B and a/C"
    map_file(path).write_text(json.dumps({"hz": 5, "action": [{"topic": "/cmd"}]}))
    assert read_map(path, log).hz == 5
    log.mixed["/cmd"] = "a/B and a/C"
    with pytest.raises(DataError, match="/cmd carries messages of two types or definitions, a/B and a/C"):
        read_map(path, log)
