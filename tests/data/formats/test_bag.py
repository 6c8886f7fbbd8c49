from __future__ import annotations

import contextlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.formats import bags
from data.formats.bags import GOLDEN, KEPT, NAMES, events
from sinew.core.errors import DataError
from sinew.core.types import SensorSpec
from sinew.data.episode import Episode
from sinew.data.formats import FORMATS
from sinew.data.formats.bag import Bag
from sinew.data.formats.export import convert
from sinew.data.formats.ingest import open_dataset, open_source, read_episode, robot_of

HZ = 20


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("logs")
    return {name: bags.write(folder / name) for name in NAMES}


@pytest.fixture
def log(written: dict[str, Path], tmp_path: Path) -> Path:
    for file in written["zstd.mcap"].parent.glob("zstd.*"):
        shutil.copy(file, tmp_path)
    return tmp_path / "zstd.mcap"


def change(path: Path, **changes: Any) -> None:  # noqa: ANN401
    """Change the map beside a log; None takes a field out."""
    content = bags.TOPICS | changes
    text = json.dumps({key: value for key, value in content.items() if value is not None})
    path.with_suffix(".topics.json").write_text(text)


def latest(topic: str, ticks: Any) -> list[int]:  # noqa: ANN401
    """Return the stamp of the last message of a topic not after each tick."""
    stamps = np.array([stamp for name, stamp, _, _ in events() if name == topic])
    return stamps[np.searchsorted(stamps, ticks, "right") - 1].tolist()


def ticks_of(number: int) -> Any:  # noqa: ANN401
    """Return when an episode is read: from where the last topic is first heard to where the first falls silent."""
    start = bags.BEGIN + number * (bags.PAUSE + bags.TICKS * bags.STEP)
    first = start + bags.STEP + 2000 + 6
    last = start + 25 * bags.STEP + 2000 + 3
    return first + np.arange((last - first) * HZ // 10**9 + 1) * (10**9 // HZ)


def check(episode: Episode, number: int) -> None:
    ticks = ticks_of(number)
    state = np.array([bags.joints(stamp)[::-1] for stamp in latest("/joint_states", ticks)])
    np.testing.assert_array_equal(episode.state, state.astype(np.float32))
    action = np.array([bags.command(stamp) for stamp in latest("/cmd", ticks)])
    np.testing.assert_array_equal(episode.action, action.astype(np.float32))
    for camera, topic in (("front", "/cam/image_raw"), ("wrist", "/wrist/compressed")):
        images = np.stack([bags.picture(stamp) for stamp in latest(topic, ticks)])
        np.testing.assert_array_equal(episode.images[camera], images.transpose(0, 3, 1, 2))
    depth = np.stack([bags.depth(stamp) for stamp in latest("/depth", ticks)])
    np.testing.assert_array_equal(episode.sensors["depth"], depth)
    rates = np.stack([bags.imu(stamp) for stamp in latest("/imu", ticks)])
    np.testing.assert_array_equal(episode.sensors["imu"], rates.astype(np.float32))
    for found, stamp in zip(episode.sensors["cloud"], latest("/points", ticks), strict=True):
        points = bags.cloud(stamp)[:, [0, 2]]
        np.testing.assert_array_equal(found[: len(points)], points)
        assert np.isnan(found[len(points) :]).all()
    assert episode.instruction == episode.task == f"press button {number}"
    assert episode.success is (number == 0)


@pytest.mark.parametrize("name", NAMES)
def test_every_container_gives_what_was_recorded(written: dict[str, Path], name: str) -> None:
    read_all(written[name])


@pytest.mark.parametrize("name", KEPT)
def test_golden_files_give_what_was_recorded(name: str) -> None:
    read_all(GOLDEN / name)


def read_all(path: Path) -> None:
    source = open_source(path)
    assert isinstance(source, Bag)
    spec = robot_of(source)
    assert source.lengths == tuple(len(ticks_of(number)) for number in range(2))
    assert source.judged
    assert source.unread == ()
    assert (spec.hz, spec.state, spec.state_size) == (20, ("b", "a"), 2)
    assert spec.sensors["depth"] == SensorSpec((4, 5), "mm", 20, "uint16")
    assert spec.sensors["cloud"].shape == (4, 2)
    low, high = source.reach()
    episodes = [read_episode(source, number, spec) for number in (1, 0)]
    for number, episode in zip((1, 0), episodes, strict=True):
        check(episode, number)
    actions = np.concatenate([episode.action for episode in episodes])
    assert (low, high) == (tuple(actions.min(axis=0).tolist()), tuple(actions.max(axis=0).tolist()))


def test_a_log_goes_into_a_store_and_out_again(log: Path, tmp_path: Path) -> None:
    store = open_dataset(log, into=tmp_path / "stores")
    check(store.episode(0), 0)
    assert [record.id for record in store.records] == ["zstd/0", "zstd/1"]
    source = pickle.loads(pickle.dumps(open_source(log)))
    spec = robot_of(source)
    bare = json.loads(log.with_suffix(".spec.json").read_text())
    log.with_suffix(".spec.json").write_text(
        json.dumps(bare | {"state": [], "state_units": [], "cameras": {"wrist": {}}})
    )
    convert(log, tmp_path / "out.hdf5", to="hdf5")
    back = open_source(tmp_path / "out.hdf5")
    np.testing.assert_array_equal(back.episode(1, robot_of(back)).action, source.episode(1, spec).action)


def test_the_key_of_a_store_changes_with_the_map(log: Path, tmp_path: Path) -> None:
    first = open_dataset(log, into=tmp_path / "stores")
    change(log, stale_s=0.3)
    assert open_dataset(log, into=tmp_path / "stores").path != first.path


def test_a_directory_of_logs_shares_a_map(written: dict[str, Path], tmp_path: Path) -> None:
    shutil.copy(written["lz4.mcap"], tmp_path / "a.mcap")
    shutil.copy(written["ros1_bz2.bag"], tmp_path / "b.bag")
    shutil.copytree(written["ros2_sqlite"], tmp_path / "c")
    for name, content in (("topics", bags.TOPICS), ("spec", bags.SPEC)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    assert Bag.detect(tmp_path)
    source = open_source(tmp_path)
    spec = robot_of(source)
    for number in range(6):
        check(read_episode(source, number, spec), number % 2)
    assert read_episode(source, 5, spec).id == "c/1"
    assert [file.name for file in source.files] == ["a.mcap", "b.bag", "ros2_sqlite.db3", "topics.json"]


def test_without_a_map_the_topics_are_listed_with_what_to_write(log: Path) -> None:
    log.with_suffix(".topics.json").unlink()
    with pytest.raises(DataError, match=r"zstd\.topics\.json") as caught:
        open_source(log)
    assert "/joint_states  sensor_msgs/msg/JointState  60 messages" in str(caught.value)
    assert '"hz": "?"' in str(caught.value)
    assert '"cameras": {"cam": "/cam/image_raw", "depth": "/depth", "wrist": "/wrist/compressed"}' in str(caught.value)


def test_without_a_split_a_log_is_one_episode_with_a_gap(log: Path) -> None:
    change(log, split=None)
    with pytest.raises(
        DataError, match=r"frame \d+: the message of /cam/image_raw is [\d.]+ s away, 0.2 s are allowed"
    ):
        read_all_frames(log)
    change(log, split=None, stale_s=5.0)
    with pytest.raises(DataError, match=r"the instruction changes \(press button 0; press button 1\)"):
        read_all_frames(log)
    change(log, split=None, stale_s=5.0, instruction=None, success=None)
    source = open_source(log)
    assert (len(source.lengths), source.instructions, source.judged) == (1, ("",), False)
    assert source.unread == ("/episode", "/instruction", "/success")


def read_all_frames(path: Path) -> None:
    source = open_source(path)
    spec = robot_of(source)
    for number in range(len(source.lengths)):
        read_episode(source, number, spec)


def test_an_action_may_be_the_first_one_sent_after_a_tick(log: Path) -> None:
    change(log, action=[bags.TOPICS["action"][0] | {"after": True}])
    source = open_source(log)
    found = source.episode(0, robot_of(source)).action
    stamps = np.array([stamp for name, stamp, _, _ in events() if name == "/cmd"])
    wanted = [bags.command(stamp) for stamp in stamps[np.searchsorted(stamps, ticks_of(0), "left")]]
    np.testing.assert_array_equal(found, np.array(wanted).astype(np.float32))


def state(topic: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"state": [{"topic": topic, **changes}]}


def sensor(topic: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"sensors": {"it": {"topic": topic, "unit": "m", **changes}}}


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no such topic": ({"cameras": {"front": "/other"}}, r"has no topic /other. It holds"),
    "unknown field": ({"rate": 3}, "rate"),
    "no rate": ({"hz": 0}, "hz from above 0"),
    "no action": ({"action": []}, "an action are needed"),
    "no such value": (state("/cmd", fields=["position"]), "has no field position, but layout, data"),
    "no such joint": (state("/joint_states", fields=["position"], names=["c"]), "no joint c, but a, b"),
    "no names": (state("/cmd", fields=["data"], names=["a"]), "2 values do not come with as many names"),
    "text as numbers": (state("/joint_states", fields=["name"]), "name: holds 'a', numbers are needed"),
    "no picture": ({"cameras": {"front": "/depth"}}, "no picture of a known encoding (16UC1)"),
    "no depth": (sensor("/cam/image_raw"), "no depth of a known encoding (bgr8)"),
    "cloud of no length": (sensor("/points"), "for how many to keep room: points"),
    "cloud too long": (sensor("/points", points=2), "topics.json keeps room for 2"),
    "no such column": (sensor("/points", points=4, fields=["q"]), "no column q, but x, y, z"),
    "never begins": ({"split": {"topic": "/episode", "begin": "go"}}, "no message of /episode begins an episode"),
    "of another kind": ({"split": {"topic": "/cmd"}}, "data is no single value"),
    "silence": ({"split": {"topic": "/episode"}}, "zstd/1: has no message of /cam/image_raw"),
    "no word on success": ({"success": "/instruction"}, "nothing on /instruction says whether it succeeded"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_map_that_does_not_fit_is_refused(log: Path, name: str) -> None:
    changes, words = BAD[name]
    change(log, **changes)
    with pytest.raises(DataError) as caught:
        read_all_frames(log)
    assert words in str(caught.value)
    assert "zstd" in str(caught.value)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "ros2_sqlite"])
def test_a_log_that_was_cut_anywhere_is_refused_by_name(written: dict[str, Path], name: str) -> None:
    path = written[name]
    file = next(path.glob("*.mcap")) if path.is_dir() else path
    whole = file.read_bytes()
    try:
        for cut in np.linspace(1, len(whole) - 1, 25).astype(int).tolist():
            file.write_bytes(whole[:cut])
            with pytest.raises(DataError, match=path.name.replace(".", r"\.")):
                read_all_frames(path)
    finally:
        file.write_bytes(whole)


@pytest.mark.parametrize("name", NAMES)
def test_mutated_logs_are_read_or_refused(written: dict[str, Path], name: str) -> None:
    path = written[name]
    file = next(file for file in path.iterdir() if file.suffix in (".mcap", ".db3")) if path.is_dir() else path
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    damage: list[Callable[[bytearray, int], None]] = [
        lambda content, place: content.__setitem__(place, int(rng.integers(256))),
        lambda content, place: content.__setitem__(slice(place, place + 4), b"\xff\xff\xff\xff"),
        lambda content, place: content.__delitem__(slice(place, place + int(rng.integers(1, 9)))),
    ]
    try:
        for number in range(15):
            content = bytearray(whole)
            for _ in range(3):
                damage[number % 3](content, int(rng.integers(len(content) - 8)))
            file.write_bytes(content)
            with contextlib.suppress(DataError):
                read_all_frames(path)
    finally:
        file.write_bytes(whole)


def test_it_is_listed_among_the_formats(tmp_path: Path) -> None:
    assert FORMATS["bag"] is Bag
    assert not Bag.detect(tmp_path)
    (tmp_path / "a.mcap").write_bytes(b"something")
    assert not Bag.detect(tmp_path / "a.mcap")
    with pytest.raises(DataError, match=r"there is no MCAP file, no .bag and no .db3"):
        Bag(tmp_path)
