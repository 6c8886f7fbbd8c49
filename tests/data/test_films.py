from __future__ import annotations

import multiprocessing
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from data.formats.recordings import GOLDEN, SPEC, smooth_episode
from sinew.core.errors import DataError
from sinew.data.config import IngestConfig
from sinew.data.films import FilmFrames, look_through
from sinew.data.formats.hdf5 import Hdf5
from sinew.data.formats.ingest import open_dataset
from sinew.data.formats.lerobot import LeRobot
from sinew.data.formats.video import read_frames
from sinew.data.store import Store
from sinew.data.windows import Windows

DIRECT = IngestConfig(films=True)
EPISODES = [smooth_episode(number, 9 + 4 * number) for number in range(3)]


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films") / "demos"
    LeRobot.write(path, EPISODES, storage="video")
    return path


@pytest.mark.parametrize("codec", ["h264", "av1"])
def test_every_frame_is_the_one_that_reading_the_film_from_its_beginning_gives(codec: str) -> None:
    path = next((GOLDEN / codec).rglob("*.mp4"))
    index = look_through(path, 10)
    count = len(index.rows)
    packets, rows = index.frames(0, count, "here")
    frames = FilmFrames([index.file], packets, np.pad(rows, ((0, 0), (1, 0))), (64, 80))
    wanted = np.stack(list(read_frames(path, 0, count, fps=10, where="here"))).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(frames[:], wanted)
    order = np.random.default_rng(0).integers(0, count, (7, 3))
    np.testing.assert_array_equal(frames[order], wanted[order])


def test_a_store_of_films_gives_what_a_copy_gives(demos: Path, tmp_path: Path) -> None:
    copy = open_dataset(demos, into=tmp_path)
    direct = open_dataset(demos, into=tmp_path, config=DIRECT)
    assert direct.path != copy.path
    np.testing.assert_array_equal(direct.column("images.front")[:], copy.column("images.front"))
    for number in range(3):
        for camera in SPEC.cameras:
            np.testing.assert_array_equal(direct.episode(number).images[camera], copy.episode(number).images[camera])
    order = np.random.default_rng(0).permutation(Windows([copy], history=1, horizon=1).num_frames)
    batches = [Windows([store], history=3, horizon=4).gather(order) for store in (direct, copy)]
    np.testing.assert_array_equal(batches[0].obs.images["wrist"], batches[1].obs.images["wrist"])
    np.testing.assert_array_equal(batches[0].actions, batches[1].actions)
    assert sum(file.stat().st_size for file in direct.path.glob("images*")) < 4000


def test_frames_are_scaled_like_those_of_a_copy(demos: Path, tmp_path: Path) -> None:
    small = [
        open_dataset(demos, into=tmp_path, config=IngestConfig(image_size=(8, 10), films=way)) for way in (True, None)
    ]
    np.testing.assert_array_equal(small[0].column("images.front")[3:9], small[1].column("images.front")[3:9])


def _read_in_child(store: Store, order: NDArray[np.int64], results: multiprocessing.Queue[NDArray[np.uint8]]) -> None:
    results.put(store.column("images.front")[order])


def test_a_film_that_was_read_can_be_read_in_forked_children_at_the_same_time(demos: Path, tmp_path: Path) -> None:
    store = open_dataset(demos, into=tmp_path, config=DIRECT)
    whole = store.column("images.front")[:]  # decoders are open now
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[NDArray[np.uint8]] = context.Queue()
    order = np.random.default_rng(1).integers(0, len(whole), 40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks of threaded processes
        children = [context.Process(target=_read_in_child, args=(store, order, results)) for _ in range(3)]
        for child in children:
            child.start()
    np.testing.assert_array_equal(store.column("images.front")[order], whole[order])
    for _ in children:
        np.testing.assert_array_equal(results.get(timeout=60), whole[order])
    for child in children:
        child.join()


def test_a_film_that_was_changed_lost_or_damaged_is_refused_by_name(demos: Path, tmp_path: Path) -> None:
    shutil.copytree(demos, tmp_path / "demos")
    store = open_dataset(tmp_path / "demos", into=tmp_path / "stores", config=DIRECT)
    film = Path(store.layout.films["front"][0].path)
    whole = film.read_bytes()
    film.write_bytes(whole[:-1])
    with pytest.raises(DataError, match=rf"{film.name}: has {len(whole) - 1} bytes, it had {len(whole)}"):
        store.column("images.front")[0]
    film.unlink()
    with pytest.raises(DataError, match=rf"{film.name}: has 0 bytes"):
        Store.open(store.path).column("images.front")[0]
    film.write_bytes(os.urandom(len(whole)))
    with pytest.raises(DataError, match=rf"{film.name}: .*cannot be decoded"):
        Store.open(store.path).column("images.front")[0]


def test_a_film_shorter_than_its_table_and_other_storages_are_refused(demos: Path, tmp_path: Path) -> None:
    index = look_through(next(demos.rglob("*.mp4")), SPEC.hz)
    with pytest.raises(DataError, match=r"ep 1, frame 2: .*shows no frame 39, but the table lists 4 frames from 37 on"):
        index.frames(len(index.rows) - 2, 4, "ep 1")
    LeRobot.write(tmp_path / "pictures", EPISODES[:1], storage="image")
    with pytest.raises(DataError, match="lies as pictures in the tables"):
        open_dataset(tmp_path / "pictures", into=tmp_path, config=DIRECT)
    Hdf5.write(tmp_path / "x.hdf5", EPISODES[:1])
    with pytest.raises(DataError, match="holds no films to read from"):
        open_dataset(tmp_path / "x.hdf5", into=tmp_path, config=DIRECT)
    (tmp_path / "no.mp4").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"no.mp4: cannot be read as a film"):
        look_through(tmp_path / "no.mp4", 10)


def test_a_store_of_films_takes_no_other_images_and_notices_what_is_cut_off(demos: Path, tmp_path: Path) -> None:
    store = open_dataset(demos, into=tmp_path, config=DIRECT)
    with pytest.raises(DataError, match="leaves images in their films"):
        store.append([EPISODES[0]])
    for file in ("images.front.i64", "images.front.packets.i64"):
        whole = (store.path / file).read_bytes()
        (store.path / file).write_bytes(whole[:-8])
        with pytest.raises(DataError, match=r"images.front.packets.i64: ends within episode"):
            Store.open(store.path)
        (store.path / file).write_bytes(whole)
