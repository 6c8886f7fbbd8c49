from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from data.formats.pairs import records
from sinew.core.errors import ConfigError, DataError
from sinew.data.config import TextConfig
from sinew.data.formats.llava import Llava
from sinew.data.text_ingest import open_text
from sinew.data.text_store import TextStore

RAW = TextConfig(image_size=(10, 12), fit="stretch", storage="raw")


@pytest.fixture
def store(tmp_path: Path) -> TextStore:
    Llava.write(tmp_path / "set", records(5))
    return open_text(tmp_path / "set", into=tmp_path / "stores", config=RAW)


def test_records_come_back_with_images_of_one_size(store: TextStore) -> None:
    assert (store.num_records, store.num_images) == (5, 5)
    for number, wanted in enumerate(records(5)):
        found = store.record(number)
        assert (found.id, found.turns) == (wanted.id, wanted.turns)
        assert [image.shape for image in found.images] == [(3, 10, 12)] * len(wanted.images)
    with pytest.raises(DataError, match="no record 5; there are 5"):
        store.record(5)


def test_a_store_travels_as_a_path(store: TextStore) -> None:
    again = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(again.record(2).images[1], store.record(2).images[1])
    assert len(pickle.dumps(store)) < 500


def test_a_changed_byte_of_text_or_image_is_found(store: TextStore) -> None:
    for name, number in (("records.jsonl", 1), ("images.bin", 2)):
        file = store.path / name
        whole = file.read_bytes()
        place = whole.index(b"2 + 2") if number == 1 else 3 * 120 + 5
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(DataError, match=f"record {number} is damaged"):
            TextStore.open(store.path).record(number)
        file.write_bytes(whole)


@pytest.mark.parametrize("name", ["images.bin", "images.i64", "records.jsonl", "rows.i64", "text.json"])
def test_files_that_were_cut_or_lost_are_refused(store: TextStore, name: str) -> None:
    whole = (store.path / name).read_bytes()
    for content in (whole[:-3], whole[: len(whole) // 2], b""):
        (store.path / name).write_bytes(content)
        with pytest.raises(DataError, match=name if name == "text.json" else "do not belong together"):
            TextStore.open(store.path)
    (store.path / name).unlink()
    with pytest.raises(DataError, match=name):
        TextStore.open(store.path)


def test_another_version_or_setting_is_refused(store: TextStore) -> None:
    file = store.path / "text.json"
    whole = file.read_text()
    for old, new, words in (('"schema_version": 1', '"schema_version": 9', "version 9"), ("stretch", "squeeze", "fit")):
        file.write_text(whole.replace(old, new))
        with pytest.raises(DataError, match=words):
            TextStore.open(store.path)


def test_a_split_is_disjoint_whole_and_always_the_same(store: TextStore) -> None:
    train, held = store.split(0.3)
    assert sorted([*train, *held]) == list(range(5))
    assert len(held) == 2
    np.testing.assert_array_equal(TextStore.open(store.path).split(0.3)[1], held)
    assert len(store.split(0.0)[1]) == 0
    with pytest.raises(ConfigError, match="one must stay"):
        store.split(0.9)
