from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from data.formats.recordings import change_json
from data.quality.healthy import SPEC, healthy, put, store_of
from sinew.cli.main import main
from sinew.data.dataset import open_any, open_unmasked, write_any
from sinew.data.store import Store

Words = pytest.CaptureFixture[str]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    idle = healthy(2, 80)
    state, action = idle.state.copy(), idle.action.copy()
    state[:30], action[:30] = state[30], action[30]
    images = {name: put(item, slice(None), 0) for name, item in healthy(1).images.items()}
    episodes = [healthy(0), healthy(1, images=images), healthy(2, 80, state=state, action=action, executed=action)]
    return store_of(tmp_path / "s", [*episodes, healthy(3)])


def test_validate_tells_place_evidence_and_remedy_and_ends_with_one(store: Path, capsys: Words) -> None:
    assert main(["data", "validate", str(store)]) == 1
    shown = capsys.readouterr().out
    for words in (
        "error: camera in 1 of 4 episodes",
        "episode 1, frames 0 to 39: camera front is black",
        "-> Leave the episode out",
        "warning: idle in 1 of 4 episodes",
        "episode 2, frames 0 to 3",
        "4 episodes, 200 frames: 2 errors, 1 warning; mean quality 0.",
    ):
        assert words in shown
    assert main(["data", "validate", str(store), "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert (content["sound"], content["qualities"][1]) == (False, 0.0)
    assert {item["kind"] for item in content["findings"]} == {"camera", "idle"}


def test_filter_writes_a_mask_or_a_copy_and_leaves_the_data_alone(store: Path, tmp_path: Path, capsys: Words) -> None:
    before = {file.name: file.read_bytes() for file in store.iterdir()}
    assert main(["data", "filter", str(store), "--dry-run"]) == 0
    assert {file.name: file.read_bytes() for file in store.iterdir()} == before
    shown = capsys.readouterr().out
    assert "episode 1      left out                         quality 0.00   camera" in shown
    assert "episode 2      kept from frame 2" in shown
    assert main(["data", "filter", str(store), "--out", str(tmp_path / "clean.hdf5"), "--to", "hdf5"]) == 0
    assert {file.name: file.read_bytes() for file in store.iterdir()} == before
    capsys.readouterr()
    assert main(["data", "filter", str(store)]) == 0
    assert f"{store / 'mask.json'}: written; training reads the data through it" in capsys.readouterr().out
    assert {file.name: file.read_bytes() for file in store.iterdir() if file.name in before} == before
    assert main(["data", "info", str(store)]) == 0
    assert f"{store / 'mask.json'}; training learns only from what it keeps" in capsys.readouterr().out
    masked, clean = open_any(store), open_any(tmp_path / "clean.hdf5")
    assert masked.lengths == clean.lengths
    assert len(masked.lengths) == 3
    assert 50 < masked.lengths[1] < 60
    assert open_unmasked(store).lengths == (40, 40, 80, 40)
    assert main(["data", "filter", str(store), "--out", str(tmp_path / "clean.hdf5")]) == 2
    assert main(["data", "filter", str(store), "--quality", "3"]) == 2
    assert "quality lies in 0 .. 1" in capsys.readouterr().err


def test_merge_and_split_are_each_others_reverse(tmp_path: Path, capsys: Words) -> None:
    store_of(tmp_path / "s", [healthy(number, 12) for number in range(6)])
    one, two, both = (str(tmp_path / name) for name in ("one", "two", "both"))
    assert main(["data", "split", str(tmp_path / "s"), "--out", one, two, "--episodes", "4-5"]) == 0
    assert f"{two}: 2 of 6 episodes written." in capsys.readouterr().out
    assert main(["data", "merge", one, two, "--out", both]) == 0
    merged, whole = Store.open(Path(both)), Store.open(tmp_path / "s")
    assert [record.crc for record in merged.records] == [record.crc for record in whole.records]
    assert main(["data", "merge", one, "--out", str(tmp_path / "x")]) == 2
    assert main(["data", "split", both, "--out", one, two, "--share", "0.5"]) == 2
    assert "something here already" in capsys.readouterr().err
    assert main(["data", "split", both, "--out", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "holds no episodes out itself; give one of --share, --tasks and --episodes" in capsys.readouterr().err


def test_a_split_that_the_data_have_is_taken_or_said_to_be_replaced(tmp_path: Path, capsys: Words) -> None:
    episodes = [dataclasses.replace(healthy(number, 12), held_out=number in (1, 4)) for number in range(6)]
    path = str(store_of(tmp_path / "s", episodes))
    places = [str(tmp_path / name) for name in ("a", "b", "c", "d", "e", "f")]
    assert main(["data", "split", path, "--out", *places[:2]]) == 0
    assert "note:" not in capsys.readouterr().out
    kept = [[record.id for record in Store.open(Path(place)).records] for place in places[:2]]
    assert kept == [[f"train/{number}" for number in (0, 2, 3, 5)], ["train/1", "train/4"]]
    assert not any(record.held_out for place in places[:2] for record in Store.open(Path(place)).records)
    assert main(["data", "split", path, "--out", *places[2:4], "--share", "0.5"]) == 0
    assert "itself holds 2 of 6 episodes out; --share replaces that split" in capsys.readouterr().out
    assert not any(record.held_out for place in places[2:4] for record in Store.open(Path(place)).records)
    assert main(["data", "split", path, "--out", *places[4:], "--episodes", "0-1"]) == 0
    assert [record.held_out for record in Store.open(Path(places[5])).records] == [False, True]


def test_a_mismatch_is_refused_with_both_sides(tmp_path: Path, capsys: Words) -> None:
    for name in ("one", "two"):
        store_of(tmp_path / name, [healthy(0, 12)])
    change_json(tmp_path / "two" / "spec.json", embodiment="another")
    out = tmp_path / "both"
    assert main(["data", "merge", str(tmp_path / "one"), str(tmp_path / "two"), "--out", str(out)]) == 2
    shown = capsys.readouterr().err
    for words in ("embodiment", "arm", "another", str(tmp_path / "one"), str(tmp_path / "two")):
        assert words in shown
    assert not out.exists()


def test_merging_judged_with_unjudged_data_is_noted(tmp_path: Path, capsys: Words) -> None:
    import h5py

    for name in ("one.hdf5", "two.hdf5"):
        write_any(tmp_path / name, [healthy(0, 12), healthy(1, 12)], to="hdf5")
    with h5py.File(tmp_path / "two.hdf5", "r+") as file:
        for number in range(2):
            del file[f"episode_{number}/success"]
    paths = [str(tmp_path / name) for name in ("one.hdf5", "two.hdf5")]
    assert main(["data", "merge", *paths, "--out", str(tmp_path / "both.hdf5")]) == 0
    assert "two.hdf5 does not say which episodes succeeded" in capsys.readouterr().out


def test_stats_are_printed_and_saved(tmp_path: Path, capsys: Words) -> None:
    state = healthy(0).state
    path = store_of(tmp_path / "s", [healthy(0)])
    assert main(["data", "stats", str(path), "--json", str(tmp_path / "stats.json"), "--images"]) == 0
    shown = capsys.readouterr().out
    assert f"{state[:, 0].astype(np.float64).mean():.4g}" in next(
        line for line in shown.splitlines() if line.startswith("state shoulder [rad]")
    )
    assert "images.front red [of 255]" in shown
    content = json.loads((tmp_path / "stats.json").read_text())
    assert (content["frames"], content["at"][2]) == (40, 0.5)
    assert content["values"][0]["mean"] == state[:, 0].astype(np.float64).mean()
    assert [item["name"] for item in content["values"][:4]] == list(SPEC.state)


def test_view_writes_a_page_and_says_where(tmp_path: Path, capsys: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store_of(tmp_path / "s", [healthy(number, 12) for number in range(9)])
    monkeypatch.chdir(tmp_path)
    assert main(["data", "view", str(path), "--count", "2"]) == 0
    assert f"{tmp_path / 's.html'}: written" in capsys.readouterr().out
    assert (tmp_path / "s.html").read_text().count("<article") == 2
    assert main(["data", "view", str(path), "--episodes", "1-3", "--out", "x.html"]) == 0
    assert (tmp_path / "x.html").read_text().count("<article") == 3
    assert main(["data", "view", str(path), "--count", "0"]) == 2
