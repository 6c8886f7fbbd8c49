from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.formats.pairs import llava, png, records, row, shard
from data.formats.recordings import smooth_episode
from sinew.core.errors import ConfigError, DataError
from sinew.data.config import TextConfig
from sinew.data.formats.hdf5 import Hdf5
from sinew.data.formats.llava import Llava
from sinew.data.text_info import convert_text, describe_text, is_text
from sinew.data.text_ingest import open_text


def test_a_set_is_described_by_its_records_and_its_first_one(tmp_path: Path) -> None:
    Llava.write(tmp_path / "set", records(4))
    said = dict(describe_text(tmp_path / "set"))
    assert said["format"] == "llava"
    assert said["records"] == "4"
    assert said["images"] == "4, 0 in 1 records, 1 in 2 records, 2 in 1 records"
    assert said["turns"] == "10, 2 to 4 a record"
    assert said["first"] == "record one, 6 x 8 px"
    assert "gpt: A ramp." in [text for _, text in describe_text(tmp_path / "set")]


def test_a_store_and_shards_are_described(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", {"0.png": png(0), "0.txt": b"x" * 200, "0.cls": b"1"})
    said = dict(describe_text(path))
    assert (said["format"], said["not read"]) == ("webdataset", "cls")
    assert said[""].endswith("...")
    store = open_text(path, into=tmp_path / "stores", config=TextConfig(image_size=(9, 9)))
    said = dict(describe_text(store.path))
    assert said["images"] == "1, 9 x 9 px, jpeg, fit by pad"


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    path = llava(tmp_path, [row(0), row(1, conversations=3)])
    with pytest.raises(DataError, match="record 1"):
        list(describe_text(path))


def test_shards_and_stores_are_written_as_llava(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", {"0.png": png(0), "0.txt": b"a", "1.png": png(1), "1.txt": b"b"})
    seen: list[tuple[int, int]] = []
    convert_text(path, tmp_path / "out", to="llava", on_progress=lambda *done: seen.append(done))
    assert seen == [(1, 2), (2, 2)]
    store = open_text(path, into=tmp_path, config=TextConfig(image_size=(8, 8), storage="raw"))
    convert_text(store.path, tmp_path / "again", to="llava")
    found = [item.decode() for item in Llava(tmp_path / "again").records()]
    np.testing.assert_array_equal(found[1].images[0], store.record(1).images[0])
    with pytest.raises(ConfigError, match="written as llava; lerobot was asked for"):
        convert_text(path, tmp_path / "third", to="lerobot")


def test_recordings_of_a_robot_are_no_text(tmp_path: Path) -> None:
    Hdf5.write(tmp_path / "demos.hdf5", [smooth_episode(0)])
    assert not is_text(tmp_path / "demos.hdf5")
    assert not is_text(tmp_path)
    assert is_text(llava(tmp_path / "set", [row(0)]))
