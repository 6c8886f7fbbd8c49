from __future__ import annotations

import contextlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from data.formats.pairs import image, png, shard
from sinew.core.errors import DataError
from sinew.data.formats.image_text import ImageText, Turn
from sinew.data.formats.webdataset import WebDataset

PAIR = {"000.png": png(0), "000.txt": b"A ramp.\n", "d/001.x.png": png(1), "d/001.json": b"{}"}


def read(path: Path) -> list[ImageText]:
    return [record.decode() for record in WebDataset(path).records()]


def test_shards_are_read_in_order_with_every_kind_of_text(tmp_path: Path) -> None:
    chat = [{"from": "human", "value": "What is <image>?"}, {"from": "gpt", "value": "It."}]
    shard(tmp_path / "b.tar", {"2.json": json.dumps({"conversations": chat}).encode(), "2.png": png(2), "2.cls": b"7"})
    shard(
        tmp_path / "a.tar", {"0.png": png(0), "0.txt": b"A ramp.\n", "1.json": b'{"caption": "Two."}', "1.PNG": png(1)}
    )
    source = WebDataset(tmp_path)
    found = [record.decode() for record in source.records()]
    assert [item.id for item in found] == ["0", "1", "2"]
    assert found[0].turns == (Turn("human", "<image>"), Turn("gpt", "A ramp."))
    assert found[1].turns[1].text == "Two."
    assert found[2].turns == (Turn("human", "What is <image>?"), Turn("gpt", "It."))
    for number, item in enumerate(found):
        np.testing.assert_array_equal(item.images[0], image(number))
    assert [file.name for file in source.files] == ["a.tar", "b.tar"]
    assert source.unread == {"cls"}


BAD = {
    "no image": ({"0.txt": b"a"}, "record 0: has 0 images"),
    "two images": ({"0.png": png(0), "0.jpg": png(0), "0.txt": b"a"}, "record 0: has 2 images"),
    "no text": ({"0.png": png(0)}, "record 0: has no text"),
    "apart": ({"0.png": png(0), "1.txt": b"a", "0.txt": b"a"}, "record 0: has no text"),
    "empty text": ({"0.png": png(0), "0.txt": b" "}, "record 0: has no answer"),
    "latin text": ({"0.png": png(0), "0.txt": b"\xff"}, "record 0: 0.txt is not UTF-8"),
    "no json": ({"0.png": png(0), "0.json": b"{"}, "record 0: its json is not JSON"),
    "a list": ({"0.png": png(0), "0.json": b"[]"}, "record 0: its json holds no object"),
    "deep json": ({"0.png": png(0), "0.json": b"[" * 100_000}, "record 0: its json is not JSON"),
    "number as caption": ({"0.png": png(0), "0.json": b'{"text": 3}'}, "record 0: has no text"),
    "image in the caption": ({"0.png": png(0), "0.txt": b"an <image>"}, "stands in what gpt says"),
    "cut image": ({"0.png": png(0)[:50], "0.txt": b"a"}, "record 0, image 0.png: not a readable image"),
    "outside": ({"../0.png": png(0)}, "'../0.png' is no plain file inside the shard"),
    "absolute": ({"/0.png": png(0)}, "'/0.png' is no plain file inside the shard"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_records_are_named(name: str, tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", BAD[name][0])
    with pytest.raises(DataError) as caught:
        read(path)
    assert BAD[name][1] in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(kind: bytes, tmp_path: Path) -> None:
    member = tarfile.TarInfo("0.png")
    member.type, member.linkname = kind, "/etc/passwd"
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        file.addfile(member)
    with pytest.raises(DataError, match="no plain file inside"):
        read(tmp_path / "a.tar")


def test_a_file_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        for _ in range(2):
            file.addfile(tarfile.TarInfo("0.png"), io.BytesIO())
    with pytest.raises(DataError, match=r"0.png stands there twice"):
        read(tmp_path / "a.tar")


def test_a_shard_that_was_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", {"0.png": png(0), "0.txt": b"a", "1.png": png(1), "1.txt": b"b"})
    whole = path.read_bytes()
    used = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    for cut in [*range(0, used, 256), used]:
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"a\.tar"):
            read(path)


def test_a_damaged_header_in_the_middle_is_no_end(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", {"0.png": png(0), "0.txt": b"a", "1.png": png(1), "1.txt": b"b"})
    content = bytearray(path.read_bytes())
    content[content.index(b"1.png") + 150] ^= 1  # its checksum
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"is damaged at byte \d+"):
        read(path)


def test_a_huge_member_is_refused_by_what_its_header_says(tmp_path: Path) -> None:
    member = tarfile.TarInfo("0.png")
    member.size = 1 << 40
    (tmp_path / "a.tar").write_bytes(member.tobuf() + bytes(2048))
    with pytest.raises(DataError, match=r"a\.tar"):
        read(tmp_path / "a.tar")


def test_compressed_shards_and_empty_folders_are_not_taken_for_it(tmp_path: Path) -> None:
    assert not WebDataset.detect(tmp_path)
    with tarfile.open(tmp_path / "a.tar", "w:gz") as file:
        file.addfile(tarfile.TarInfo("0.png"), io.BytesIO())
    with pytest.raises(DataError, match="cannot be read as a tar file"):
        read(tmp_path)
    with pytest.raises(DataError, match=r"there is no .tar file"):
        WebDataset(tmp_path / "none")


def test_mutated_shards_are_read_or_refused(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", PAIR | {"d/001.json": b'{"text": "b"}'})
    whole = path.read_bytes()
    used = np.flatnonzero(np.frombuffer(whole, np.uint8))
    rng = np.random.default_rng(0)
    for _ in range(150):
        content = bytearray(whole)
        for place in rng.choice(used, rng.integers(1, 4)):
            content[place] = rng.integers(256)
        path.write_bytes(content)
        with contextlib.suppress(DataError):
            read(path)
