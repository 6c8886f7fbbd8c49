from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from data.formats.pairs import llava, png, records, row, shard
from sinew.core.errors import ConfigError, DataError
from sinew.data import text_ingest
from sinew.data.config import TextConfig
from sinew.data.formats.image_text import Encoded
from sinew.data.formats.llava import Llava
from sinew.data.text_ingest import fit, open_text, open_text_source

SMALL = TextConfig(image_size=(8, 8), storage="raw")


def test_a_set_is_read_in_once(tmp_path: Path) -> None:
    path = llava(tmp_path / "set", [row(0), row(1)])
    seen: list[tuple[int, int]] = []
    first = open_text(path, into=tmp_path, config=SMALL, on_progress=lambda *done: seen.append(done))
    assert seen == [(0, 2), (2, 2)]
    (tmp_path / "set" / "images" / "0.png").unlink()
    assert open_text(path, into=tmp_path, config=SMALL).path == first.path
    assert open_text(first.path, into=tmp_path).num_records == 2
    with pytest.raises(DataError, match=r"0.png is in none of"):
        open_text(path, into=tmp_path, config=TextConfig(image_size=(9, 9)))


def test_tar_shards_and_jpeg_are_the_same_way(tmp_path: Path) -> None:
    files = {f"{number}.png": png(number) for number in range(3)} | {f"{number}.txt": b"x" for number in range(3)}
    path = shard(tmp_path / "a.tar", {name: files[name] for name in sorted(files)})
    exact = open_text(path, into=tmp_path, config=SMALL)
    packed = open_text(path, into=tmp_path, config=TextConfig(image_size=(8, 8)))
    assert exact.path != packed.path
    for number in range(3):
        difference = exact.record(number).images[0].astype(int) - packed.record(number).images[0]
        assert 0 < np.abs(difference).mean() < 12


def test_a_killed_call_goes_on_and_writes_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_ingest, "GROUP", 2)
    Llava.write(tmp_path / "set", records(7))
    whole = open_text(tmp_path / "set", into=tmp_path / "whole", config=SMALL).path

    class Killed(BaseException):
        pass

    def stop(done: int, _total: int) -> None:
        if done == 4:
            raise Killed

    with pytest.raises(Killed):
        open_text(tmp_path / "set", into=tmp_path / "parts", config=SMALL, on_progress=stop)
    (partial,) = (tmp_path / "parts").glob("*.partial")
    for name in ("images.bin", "images.i64", "records.jsonl", "rows.i64"):
        with (partial / name).open("ab") as file:
            file.write(b"torn")
    read: list[str] = []
    decode = Encoded.decode
    monkeypatch.setattr(Encoded, "decode", lambda item: (read.append(item.id), decode(item))[1])
    again = open_text(tmp_path / "set", into=tmp_path / "parts", config=SMALL).path
    assert read == ["r4", "r5", "r6"]
    assert again.name == whole.name
    for file in whole.iterdir():
        assert (again / file.name).read_bytes() == file.read_bytes()
    assert not list((tmp_path / "parts").glob("*.partial"))


def test_text_is_checked_before_the_first_image_is_read(tmp_path: Path) -> None:
    path = llava(tmp_path / "set", [row(0, image="none.png"), row(1, conversations=[])])
    with pytest.raises(DataError, match="record 1"):
        open_text(path, into=tmp_path / "stores", config=SMALL)


def test_wrong_places_and_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such data set"):
        open_text(tmp_path / "none", into=tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"format known here \(llava, webdataset\)"):
        open_text(tmp_path / "empty", into=tmp_path)
    path = llava(tmp_path / "set", [row(0)])
    with pytest.raises(ConfigError, match="at least 8 px"):
        open_text(path, into=tmp_path, config=TextConfig(image_size=(4, 4)))
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match="could not be made"):
        open_text(path, into=tmp_path / "file", config=SMALL)
    assert isinstance(open_text_source(path), Llava)


def stripes() -> Iterator[tuple[str, np.ndarray]]:
    """Yield how an image of 4 x 8, left half 0 and right half 200, looks at 8 x 8."""
    pad = np.full((8, 8), 100)
    pad[2:6, :4], pad[2:6, 4:] = 0, 200
    crop = np.zeros((8, 8), int)
    crop[:, 4:] = 200
    yield "pad", pad
    yield "crop", crop
    yield "stretch", crop


@pytest.mark.parametrize(("kind", "wanted"), list(stripes()), ids=lambda value: value if isinstance(value, str) else "")
def test_images_are_brought_to_one_size(kind: str, wanted: np.ndarray) -> None:
    picture = np.zeros((4, 8, 3), np.uint8)
    picture[:, 4:] = 200
    found = fit(picture, TextConfig(image_size=(8, 8), fit=kind))  # type: ignore[arg-type]
    far = [0, 1, 2, 5, 6, 7]  # the filter mixes the two in the middle
    np.testing.assert_allclose(found[:, far, 0], wanted[:, far], atol=25 if kind != "pad" else 0)
    assert found.shape == (8, 8, 3)


@pytest.mark.parametrize("size", [(8, 8), (9, 30), (31, 8)])
@pytest.mark.parametrize("kind", ["pad", "crop", "stretch"])
def test_any_aspect_gets_there(kind: str, size: tuple[int, int]) -> None:
    for height, width in ((1, 50), (50, 1), (7, 13), (8, 8)):
        config = TextConfig(image_size=size, fit=kind)  # type: ignore[arg-type]
        assert fit(np.zeros((height, width, 3), np.uint8), config).shape == (*size, 3)
