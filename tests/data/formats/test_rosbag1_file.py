from __future__ import annotations

from pathlib import Path

import pytest
from rosbags.rosbag1 import Reader

from data.formats.bags import GOLDEN, contents
from sinew.core.errors import DataError
from sinew.data.formats.log_file import Log
from sinew.data.formats.rosbag1_file import is_rosbag1, open_rosbag1


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    (tmp_path / "a.bag").write_bytes((GOLDEN / "ros1_lz4.bag").read_bytes())
    return tmp_path / "a.bag"


@pytest.mark.parametrize("name", ["ros1_lz4.bag", "ros1_bz2.bag"])
def test_messages_are_those_that_rosbags_reads(name: str) -> None:
    path = GOLDEN / name
    assert is_rosbag1(path)
    log = Log(path, [open_rosbag1(path)])
    with Reader(path) as reader:
        judged = [(connection.topic, stamp, bytes(content)) for connection, stamp, content in reader.messages()]
        kinds = {item.topic: item.msgtype.replace("/msg/", "/") for item in reader.connections}
    assert contents(log) == sorted(judged)
    assert {topic: channel.kind for topic, channel in log.channels.items()} == kinds


BAD = {
    "other version": (b"#ROSBAG V2.0", b"#ROSBAG V1.2", "another version than 2.0"),
    "field without a value": (b"index_pos=", b"index_pos ", "has no value"),
    "no number": (b"index_pos=", b"index_qos=", "its header has no index_pos"),
    "packing": (b"compression=lz4", b"compression=abc", "is packed as 'abc'"),
    "size": (b"\x09\0\0\0size=", b"\x09\0\0\0sise=", "its header has no size"),
    "kind": (b"\x04\0\0\0op=\x06", b"\x04\0\0\0op=\x77", "unknown kind 119"),
}


@pytest.mark.parametrize("name", BAD)
def test_damage_is_named(bag: Path, name: str) -> None:
    old, new, words = BAD[name]
    content = bag.read_bytes()
    assert old in content
    bag.write_bytes(content.replace(old, new))
    with pytest.raises(DataError, match=words) as caught:
        contents(Log(bag, [open_rosbag1(bag)]))
    assert str(bag) in str(caught.value)


def test_a_bag_that_was_never_closed_is_refused_with_what_to_run(bag: Path) -> None:
    content = bag.read_bytes()
    place = content.index(b"index_pos=") + len(b"index_pos=")
    bag.write_bytes(content[:place] + bytes(8) + content[place + 8 :])
    with pytest.raises(DataError, match=r"was never closed, or cut off\. Run 'rosbag reindex'"):
        open_rosbag1(bag)


def test_an_encrypted_bag_is_refused(bag: Path) -> None:
    content = bag.read_bytes()
    field = b"encryptor=x"
    start = len(b"#ROSBAG V2.0\n")
    length = int.from_bytes(content[start : start + 4], "little")
    longer = (length + 4 + len(field)).to_bytes(4, "little")
    head = content[start + 4 : start + 4 + length] + len(field).to_bytes(4, "little") + field
    bag.write_bytes(content[:start] + longer + head + content[start + 4 + length :])
    with pytest.raises(DataError, match="is encrypted"):
        open_rosbag1(bag)


def test_other_files_are_no_bags(tmp_path: Path) -> None:
    (tmp_path / "a.bag").write_bytes(b"PK")
    assert not is_rosbag1(tmp_path / "a.bag")
    assert not is_rosbag1(tmp_path)
