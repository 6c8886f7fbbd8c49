from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import zstandard
from rosbags.rosbag2 import Reader

from data.formats.bags import GOLDEN, contents
from sinew.core.errors import DataError
from sinew.data.formats import rosbag2_file
from sinew.data.formats.bag import Bag
from sinew.data.formats.ingest import read_episode, robot_of
from sinew.data.formats.log_file import Log
from sinew.data.formats.rosbag2_file import is_rosbag2, known_definition, open_rosbag2


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    shutil.copytree(GOLDEN / "ros2_sqlite", tmp_path / "bag")
    return tmp_path / "bag" / "ros2_sqlite.db3"


def change(path: Path, *commands: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        for command in commands:
            database.execute(command)


def ask(path: Path, query: str) -> None:
    with rosbag2_file._opened(path) as database:
        database.execute(query).fetchall()


def test_messages_are_those_that_rosbags_reads(bag: Path) -> None:
    assert is_rosbag2(bag)
    log = Log(bag, [open_rosbag2(bag)])
    with Reader(bag.parent) as reader:
        judged = [(connection.topic, stamp, bytes(content)) for connection, stamp, content in reader.messages()]
    assert contents(log) == sorted(judged)


def test_bags_older_than_iron_are_read_by_definitions_that_are_known(bag: Path) -> None:
    whole = Bag(bag.parent)
    change(bag, "DROP TABLE message_definitions", "DROP TABLE schema")
    source = Bag(bag.parent)
    spec = robot_of(source)
    for number in range(2):
        one, other = read_episode(source, number, spec), read_episode(whole, number, spec)
        np.testing.assert_array_equal(one.images["front"], other.images["front"])
        np.testing.assert_array_equal(one.sensors["cloud"], other.sensors["cloud"])
    assert known_definition("my_msgs/msg/Unheard") == ""
    change(bag, "UPDATE topics SET type = 'my_msgs/msg/Unheard' WHERE name = '/cmd'")
    with pytest.raises(DataError, match="no definition of my_msgs/msg/Unheard"):
        Bag(bag.parent)


def test_messages_that_were_packed_one_by_one_are_unpacked(bag: Path) -> None:
    whole = Bag(bag.parent)
    spec = robot_of(whole)
    wanted = read_episode(whole, 0, spec)
    with closing(sqlite3.connect(bag)) as database, database:
        rows = database.execute("SELECT id, data FROM messages").fetchall()
        packed = [(zstandard.compress(content), number) for number, content in rows]
        database.executemany("UPDATE messages SET data = ? WHERE id = ?", packed)
    np.testing.assert_array_equal(read_episode(Bag(bag.parent), 0, spec).images["wrist"], wanted.images["wrist"])


BAD = {
    "no tables": ("ALTER TABLE messages RENAME TO other", "has no tables topics and messages, but"),
    "no topic": ("DELETE FROM topics WHERE name = '/imu'", "which is described nowhere"),
    "stamps": ("UPDATE messages SET timestamp = 'noon'", "cannot be read as a bag"),
    "no bytes": ("UPDATE messages SET data = 5", "has no bytes"),
    "another encoding": ("UPDATE topics SET serialization_format = 'arrow'", "is encoded as 'arrow'"),
}


@pytest.mark.parametrize("name", BAD)
def test_damage_is_named(bag: Path, name: str) -> None:
    command, words = BAD[name]
    change(bag, command)
    with pytest.raises(DataError, match=words) as caught:
        Bag(bag.parent)
    assert str(bag.parent) in str(caught.value)


def test_a_bag_that_is_still_written_is_refused(bag: Path) -> None:
    bag.with_name(f"{bag.name}-wal").write_bytes(b"x")
    with pytest.raises(DataError, match=r"was never closed, ros2_sqlite\.db3-wal holds messages"):
        open_rosbag2(bag)


def test_a_query_that_never_ends_is_stopped(bag: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rosbag2_file, "MAX_STEPS", 3)
    endless = "WITH RECURSIVE n(i) AS (VALUES(0) UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    with pytest.raises(DataError, match="interrupted"):
        ask(bag, endless)


def test_a_cut_bag_is_refused(bag: Path) -> None:
    whole = bag.read_bytes()
    for cut in (50, 5000, len(whole) // 2, len(whole) - 5000):
        bag.write_bytes(whole[:cut])
        with pytest.raises(DataError, match="ros2_sqlite"):
            contents(Log(bag, [open_rosbag2(bag)]))


def test_other_files_are_no_bags(tmp_path: Path) -> None:
    (tmp_path / "a.db3").write_bytes(b"PK")
    (tmp_path / "a.sqlite").write_bytes(b"SQLite format 3\0")
    assert not is_rosbag2(tmp_path / "a.db3")
    assert not is_rosbag2(tmp_path / "a.sqlite")
