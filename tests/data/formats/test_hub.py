from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from huggingface_hub import constants

from data.formats.pairs import png
from data.formats.recordings import COMPLETE, GOLDEN, SPEC, smooth_episode
from data.formats.small_hub import COMMIT, SmallHub
from sinew.cli.main import main
from sinew.core.errors import DataError, DependencyError
from sinew.data.formats.hdf5 import Hdf5
from sinew.data.formats.hub import HubName, hub_name, in_cache, located
from sinew.data.formats.ingest import open_dataset, open_source, robot_of


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no network, and a working directory without data."""
    place = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(place))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_LEROBOT_HOME", str(tmp_path / "lerobot"))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return place


def snapshot(cache: Path, name: str, revision: str = "main") -> Path:
    """Return where the hub's library keeps a revision that it downloaded."""
    folder = cache / f"datasets--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / revision).write_text(COMMIT)
    (folder / "snapshots" / COMMIT).mkdir(parents=True, exist_ok=True)
    return folder / "snapshots" / COMMIT


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("lerobot/pusht", HubName("lerobot/pusht")),
        ("lerobot/pusht@v2.1", HubName("lerobot/pusht", "v2.1")),
        ("jxu124/OpenX-Embodiment/bc_z", HubName("jxu124/OpenX-Embodiment", "main", "bc_z")),
        ("imone/D4RL/hopper_medium-v2.hdf5", HubName("imone/D4RL", "main", "hopper_medium-v2.hdf5")),
        ("conglu/vd4rl/main/walker_walk/random/64px", HubName("conglu/vd4rl", "main", "main/walker_walk/random/64px")),
        ("liuhaotian/LLaVA-Pretrain", HubName("liuhaotian/LLaVA-Pretrain")),
        ("pusht", None),
        ("demos/mine.hdf5", None),
        ("runs/tabletop", None),
        ("../other/set", None),
        ("org/name/../../secret", None),
        ("/org/name", None),
    ],
)
def test_what_looks_like_a_name_is_one_and_paths_are_not(text: str, wanted: HubName | None) -> None:
    Path("runs").mkdir()
    assert hub_name(Path(text)) == wanted


def test_a_name_is_found_in_the_cache_and_its_spec_in_the_working_directory(cache: Path, tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "image", snapshot(cache, "lerobot/pusht"), dirs_exist_ok=True)
    source = open_source(Path("lerobot/pusht"))
    assert source.lengths == (4, 5, 6)
    with pytest.raises(DataError, match=r"Write pusht\.spec\.json"):
        robot_of(source)
    Path("pusht.spec.json").write_text(json.dumps(COMPLETE))
    store = open_dataset(Path("lerobot/pusht"), into=tmp_path / "stores")
    assert store.num_episodes == 3
    assert store.path.name.startswith("pusht-")


def test_a_revision_is_another_data_set(cache: Path) -> None:
    shutil.copytree(GOLDEN / "image", snapshot(cache, "lerobot/pusht", "v3.0"), dirs_exist_ok=True)
    assert open_source(Path("lerobot/pusht@v3.0")).lengths == (4, 5, 6)
    with pytest.raises(DataError, match=r"no revision main in .*datasets--lerobot--pusht\. .*: hf download"):
        open_source(Path("lerobot/pusht"))


def test_one_of_many_data_sets_is_named_by_its_path_inside(cache: Path) -> None:
    root = snapshot(cache, "imone/D4RL")
    for name in ("ant", "hopper"):
        Hdf5.write(root / f"{name}.hdf5", [smooth_episode(0)])
    assert located(Path("imone/D4RL/hopper.hdf5")) == root / "hopper.hdf5"
    assert in_cache(root / "hopper.hdf5") == "imone/D4RL/hopper.hdf5"
    assert robot_of(open_source(Path("imone/D4RL/hopper.hdf5"))) == SPEC
    with pytest.raises(DataError, match=r"no single data set but holds ant\.hdf5, hopper\.hdf5.*imone/D4RL/ant\.hdf5"):
        open_source(Path("imone/D4RL"))
    with pytest.raises(DataError, match=r"holds no walker\.hdf5 at revision main, but ant\.hdf5, hopper\.hdf5"):
        open_source(Path("imone/D4RL/walker.hdf5"))
    (root / "ant.hdf5").unlink()
    assert located(Path("imone/D4RL")) == root / "hopper.hdf5"


def keep(cache: Path, name: str, files: Mapping[str, bytes]) -> None:
    """Put files into the cache as the hub's library does: blobs by their hash, and links to them by name."""
    root = snapshot(cache, name)
    blobs = root.parent.parent / "blobs"
    blobs.mkdir()
    for inside, content in files.items():
        blob, place = blobs / hashlib.sha256(content).hexdigest(), root / inside
        blob.write_bytes(content)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(Path(os.path.relpath(blob, place.parent)))


def zipped(name: str, content: bytes) -> bytes:
    """Return a zip file with one file."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        archive.writestr(name, content)
    return raw.getvalue()


def tarred(name: str, content: bytes) -> bytes:
    """Return a tar file with one file."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return raw.getvalue()


def talk(image: str) -> bytes:
    turns = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "a sofa"}]
    return json.dumps([{"id": "1", "image": image, "conversations": turns}]).encode()


def shelf(tmp_path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield names that people type and the files that the hub has under them, tiny ones."""
    files = [file for file in (GOLDEN / "image").rglob("*") if file.is_file()]
    yield "lerobot/pusht", {file.relative_to(GOLDEN / "image").as_posix(): file.read_bytes() for file in files}
    pictures = zipped("00453/1.png", png(1))
    captions = json.dumps([{"id": "1", "caption": "a sofa", "url": "http://"}]).encode()
    table = {"blip_laion_cc_sbu_558k.json": talk("00453/1.png"), "blip_laion_cc_sbu_558k_meta.json": captions}
    yield "liuhaotian/LLaVA-Pretrain", {**table, "images.zip": pictures}
    names = ("conversation_58k", "detail_23k", "llava_instruct_150k")
    yield "liuhaotian/LLaVA-Instruct-150K", {f"{name}.json": talk("coco/1.jpg") for name in names}
    steps = tarred("toto_00000.data.pickle", b"\x80\x04}\x94.")
    yield "jxu124/OpenX-Embodiment", {"toto/toto_00000.tar": steps, "OpenX-Embodiment.py": b""}
    with h5py.File(tmp_path / "flat.hdf5", "w") as file:
        file["observations"], file["actions"] = np.zeros((6, 3), np.float32), np.ones((6, 2), np.float32)
        file["rewards"], file["terminals"] = np.zeros(6, np.float32), np.arange(6) == 5
    flat = (tmp_path / "flat.hdf5").read_bytes()
    yield "imone/D4RL", {"hopper_medium-v2.hdf5": flat, "ant_medium-v2.hdf5": flat}
    raw = io.BytesIO()
    columns = {"reward": np.zeros(5, np.float32), "discount": np.ones(5, np.float32)}
    np.savez(raw, image=np.zeros((5, 64, 64, 3), np.uint8), action=np.zeros((5, 6), np.float32), **columns)
    yield "conglu/vd4rl", {"main/walker_walk/random/64px/episode-5.npz": raw.getvalue()}


FIVE = (
    ("lerobot/pusht", 0, "episodes      3"),
    ("liuhaotian/LLaVA-Pretrain", 0, "human: <image> What is it?"),
    ("liuhaotian/LLaVA-Instruct-150K", 2, "Name one of them: liuhaotian/LLaVA-Instruct-150K/conversation_58k.json"),
    ("liuhaotian/LLaVA-Instruct-150K/llava_instruct_150k.json", 2, "its image coco/1.jpg is in none of"),
    ("jxu124/OpenX-Embodiment", 2, "no single data set but holds toto. Name one of them: jxu124/OpenX-Embodiment/toto"),
    ("jxu124/OpenX-Embodiment/toto", 2, "is a pickle (data.pickle), which may run any code and is never read"),
    ("imone/D4RL", 2, "holds ant_medium-v2.hdf5, hopper_medium-v2.hdf5"),
    ("imone/D4RL/hopper_medium-v2.hdf5", 0, "Write hopper_medium-v2.hdf5.spec.json"),
    ("conglu/vd4rl", 2, "Name one of them: conglu/vd4rl/main"),
    ("conglu/vd4rl/main", 2, "It holds walker_walk."),
    ("conglu/vd4rl/main/walker_walk/random/64px", 0, "camera camera  64 x 64 px"),
)


def test_names_are_described_from_the_cache_as_they_are_typed(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, files in shelf(tmp_path):
        keep(cache, name, {"README.md": b"", ".gitattributes": b"", **files})
    for typed, code, words in FIVE:
        assert main(["data", "info", typed]) == code, typed
        shown = capsys.readouterr()
        assert words in (shown.err if code else shown.out), typed


def test_a_name_that_is_nowhere_says_what_was_looked_for(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for typed in dict.fromkeys(typed.split("/", 2)[0] + "/" + typed.split("/", 2)[1] for typed, _, _ in FIVE):
        assert main(["data", "info", typed]) == 2
        shown = capsys.readouterr().err
        place = cache / f"datasets--{typed.replace('/', '--')}"
        for words in (
            f"{typed}: no such file or directory here, so it was looked up on the hub, which cannot be reached",
            f"Its cache has no revision main in {place}.",
            f"hf download {typed} --repo-type dataset --revision main",
        ):
            assert words in shown


def test_copies_that_the_libraries_keep_are_found_first(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "image", tmp_path / "lerobot" / "me" / "demos")
    assert located(Path("me/demos")) == tmp_path / "lerobot" / "me" / "demos"


def test_a_missing_path_is_said_to_be_one() -> None:
    Path("runs").mkdir()
    with pytest.raises(DataError, match="runs/tabletop: no such data set"):
        open_source(Path("runs/tabletop"))


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]:
        monkeypatch.delitem(sys.modules, name)

    class Absent:
        @staticmethod
        def find_spec(name: str, *_: Any) -> None:  # noqa: ANN401
            if name.partition(".")[0] == "huggingface_hub":
                raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(sys, "meta_path", [Absent, *sys.meta_path])
    with pytest.raises(DependencyError, match=r"lerobot/pusht: no such file.*pip install 'sinew-vla\[hub\]'"):
        open_source(Path("lerobot/pusht"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """The files of a hub's only data set, to be put in."""
    server = SmallHub()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    place = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", place)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", place + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield server.files
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_name_is_downloaded_where_there_is_a_network(hub: dict[str, bytes], cache: Path) -> None:
    for file in (GOLDEN / "image").rglob("*"):
        if file.is_file():
            hub[file.relative_to(GOLDEN / "image").as_posix()] = file.read_bytes()
    assert open_source(Path("org/set")).lengths == (4, 5, 6)
    assert located(Path("org/set")).is_relative_to(cache / "datasets--org--set")


def test_only_the_part_that_is_named_is_downloaded(hub: dict[str, bytes], tmp_path: Path) -> None:
    for number, name in enumerate(("ant", "hopper")):
        Hdf5.write(tmp_path / f"{name}.hdf5", [smooth_episode(number)])
        hub[f"{name}.hdf5"] = (tmp_path / f"{name}.hdf5").read_bytes()
    source = open_source(Path("org/set/hopper.hdf5"))
    assert source.lengths == (6,)
    assert [file.name for file in source.path.parent.iterdir()] == ["hopper.hdf5"]
    with pytest.raises(DataError, match=r"holds ant\.hdf5, hopper\.hdf5"):
        open_source(Path("org/set"))
    with pytest.raises(DataError, match=r"holds no walker\.hdf5"):
        open_source(Path("org/set/walker.hdf5"))


@pytest.mark.parametrize("name", ["org/set@v9", "org/other"])
def test_what_the_hub_does_not_have_is_said(hub: dict[str, bytes], name: str) -> None:
    hub["meta/info.json"] = b"{}"
    with pytest.raises(DataError, match=rf"{name}: no such file or directory, and the hub shows no data set"):
        open_source(Path(name))
