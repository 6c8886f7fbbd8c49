from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from data.formats.recordings import GOLDEN, change_json
from data.quality.healthy import healthy, store_of
from sinew.core.errors import DataError
from sinew.data.config import IngestConfig
from sinew.data.formats import WRITERS
from sinew.data.formats.export import convert
from sinew.data.formats.ingest import open_dataset, open_source, split_of, through_mask
from sinew.data.mask import Mask, Part, cut_episode, mask_path, read_mask, write_mask
from sinew.data.store import Store

MASK = Mask(4, {1: Part(None, 0.0, ("nan",)), 2: Part((10, 25), 0.8, ("idle",))})
LENGTHS = (40, 40, 40, 40)


def test_a_mask_survives_the_disk(tmp_path: Path) -> None:
    write_mask(tmp_path / "mask.json", MASK)
    back = read_mask(tmp_path / "mask.json", LENGTHS)
    assert back == MASK
    assert back.kept(LENGTHS) == {0: (0, 40), 2: (10, 25), 3: (0, 40)}
    assert back.qualities() == (1.0, 0.0, 0.8, 1.0)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (Mask(3), "made for 3 episodes, the data set has 4"),
        (Mask(4, {2: Part((30, 41))}), "frames 30 to 41 of episode 2, which has 40"),
        (Mask(4, {2: Part((9, 9))}), "frames 9 to 9"),
        (Mask(4, {9: Part((0, 1))}), "episode 9, which has 0"),
        (Mask(4, {number: Part(None) for number in range(4)}), "leaves out all 4"),
        (Mask(4, schema_version=7), "schema version 7, this sinew reads 1"),
    ],
)
def test_a_mask_of_other_data_is_refused(mask: Mask, words: str, tmp_path: Path) -> None:
    write_mask(tmp_path / "mask.json", mask)
    with pytest.raises(DataError, match=words):
        read_mask(tmp_path / "mask.json", LENGTHS)


def test_a_cut_episode_is_whole_and_has_another_name() -> None:
    episode = healthy(
        0,
        reward=np.arange(40, dtype=np.float32),
        targets={"place": np.zeros((40, 2), np.float32)},
        terminated=True,
        final_state=np.ones(4, np.float32),
    )
    part = cut_episode(episode, (10, 25))
    part.check()
    assert (part.num_frames, part.id, part.terminated) == (15, "train/0[10:25]", False)
    assert part.reward is not None
    assert part.reward[0] == 10
    np.testing.assert_array_equal(part.final_state, episode.state[25])  # what the last action led to
    end = cut_episode(episode, (10, 40))
    assert (end.terminated, end.final_state is episode.final_state) == (True, True)
    assert cut_episode(episode, (0, 40)) is episode


@pytest.mark.parametrize("kind", ["hdf5", "store"])
def test_training_reads_through_the_mask(kind: str, tmp_path: Path) -> None:
    episodes = [healthy(number, held_out=number == 3) for number in range(4)]
    path = tmp_path / "data" / "demos.hdf5" if kind == "hdf5" else tmp_path / "data"
    if kind == "hdf5":
        WRITERS["hdf5"].write(path, episodes, storage="image")
    else:
        store_of(path, episodes)
    into = tmp_path / "runs"
    whole = open_dataset(path, into=into, config=IngestConfig(held_out=0.3))
    assert whole.num_frames == 160
    write_mask(mask_path(path), MASK)
    masked = open_dataset(path, into=into, config=IngestConfig(held_out=0.3))
    assert [record.frames for record in masked.records] == [40, 15, 40]
    assert masked.path != whole.path
    np.testing.assert_array_equal(masked.episode(1).action, episodes[2].action[10:25])
    assert sum(record.held_out for record in masked.records) == 1
    assert open_dataset(path, into=into, config=IngestConfig(held_out=0.3)).path == masked.path
    convert(path, tmp_path / "out.hdf5", to="hdf5")
    assert open_source(tmp_path / "out.hdf5").lengths == (40, 15, 40)
    mask_path(path).unlink()
    assert open_dataset(path, into=into, config=IngestConfig(held_out=0.3)).path == whole.path


def test_a_data_set_seen_through_its_mask_is_divided_as_before(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "image", tmp_path / "set")
    change_json(tmp_path / "set" / "meta" / "info.json", splits={"train": "0:2", "val": "2:3"})
    write_mask(mask_path(tmp_path / "set"), Mask(3, {0: Part(None, 0.0)}))
    assert split_of(through_mask(open_source(tmp_path / "set")), share=0.9) == {1}


def test_a_masked_store_keeps_what_is_held_out_and_its_labels(tmp_path: Path) -> None:
    place = np.arange(80, dtype=np.float32).reshape(40, 2)
    store = Store.create(tmp_path / "s", healthy(0).spec, ("place",))
    store.append([healthy(number, targets={"place": place}, held_out=number == 2) for number in range(4)])
    store.unlock()
    write_mask(mask_path(store.path), MASK)
    masked = open_dataset(store.path, into=tmp_path / "runs")
    assert [record.held_out for record in masked.records] == [False, True, False]
    np.testing.assert_array_equal(masked.episode(1).targets["place"], place[10:25])
