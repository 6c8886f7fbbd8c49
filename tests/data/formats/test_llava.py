from __future__ import annotations

import contextlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.formats.pairs import llava, png, records, row
from sinew.core.errors import DataError
from sinew.data.formats import TEXT_FORMATS
from sinew.data.formats.image_text import ImageText, Turn
from sinew.data.formats.llava import Llava


def read(path: Path) -> list[ImageText]:
    return [record.decode() for record in Llava(path).records()]


def test_what_is_written_reads_back_the_same(tmp_path: Path) -> None:
    wanted = records()
    Llava.write(tmp_path / "out", wanted)
    assert Llava.detect(tmp_path / "out")
    found = read(tmp_path / "out")
    assert [(item.id, item.turns) for item in found] == [(item.id, item.turns) for item in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert len(one.images) == len(other.images)
        for image, again in zip(one.images, other.images, strict=True):
            np.testing.assert_array_equal(image, again)
    with pytest.raises(DataError, match="something here already"):
        Llava.write(tmp_path / "out", wanted)


@pytest.mark.parametrize("name", ["chat.json", "chat.jsonl"])
def test_the_published_layout_is_read(tmp_path: Path, name: str) -> None:
    path = llava(tmp_path / "set", [row(0), row(1, id=7), row(2, image=["2.png"])], name)
    for place in (path, path.parent):
        found = read(place)
        assert [item.id for item in found] == ["r0", "7", "r2"]
        assert found[1].turns == (Turn("human", "<image>\nWhat?"), Turn("gpt", "It is 1."))
        assert found[2].images[0].shape == (3, 6, 8)
    assert Llava(path).files == (path,)


def test_a_record_of_text_alone_is_read(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}]
    assert read(llava(tmp_path, [{"id": "a", "conversations": turns}]))[0].images == ()


def test_images_may_lie_beside_the_json_or_in_an_archive(tmp_path: Path) -> None:
    path = llava(tmp_path, [row(0), row(1, image="deep/1.png")])
    (tmp_path / "images" / "0.png").rename(tmp_path / "0.png")
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as file:
        file.writestr("deep/1.png", png(1))
    assert [item.images[0].shape for item in read(path)] == [(3, 6, 8)] * 2
    assert [file.name for file in Llava(path).files] == ["chat.json", "images.zip"]


BAD = {
    "missing image": ({"image": "9.png"}, "its image 9.png is in none of"),
    "outside": ({"image": "../../etc/passwd"}, "a file inside the data set is needed"),
    "absolute": ({"image": "/etc/passwd"}, "a file inside the data set is needed"),
    "backslash": ({"image": "..\\x.png"}, "a file inside the data set is needed"),
    "number as image": ({"image": 3}, "a file inside the data set is needed"),
    "two images, one place": ({"image": ["0.png", "1.png"]}, "2 images, but <image> stands 1 times"),
    "no image": ({"image": None}, "0 images, but <image> stands 1 times"),
    "no turns": ({"conversations": []}, "conversations is no list of turns"),
    "other speaker": ({"conversations": [{"from": "system", "value": "x"}]}, "turn 0 is"),
    "no text": ({"conversations": [{"from": "gpt", "value": None}]}, "turn 0 is"),
    "no answer": ({"conversations": [{"from": "human", "value": "<image>"}]}, "has no answer"),
    "image in the answer": (
        {"image": None, "conversations": [{"from": "gpt", "value": "<image>"}]},
        "stands in what gpt says",
    ),
    "id": ({"id": [1]}, "id is '[1]'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_records_are_named(name: str, tmp_path: Path) -> None:
    changes, words = BAD[name]
    path = llava(tmp_path, [row(0), row(1, **changes)])
    with pytest.raises(DataError) as caught:
        read(path)
    assert words in str(caught.value)
    assert f"{path}: record 1" in str(caught.value)


def test_a_damaged_image_or_archive_is_named_by_record(tmp_path: Path) -> None:
    path = llava(tmp_path, [row(0), row(1)])
    (tmp_path / "images" / "1.png").write_bytes(png(1)[:40])
    with pytest.raises(DataError, match=r"record 1 \(r1\), image 1.png: not a readable image"):
        read(path)
    (tmp_path / "images" / "1.png").unlink()
    with zipfile.ZipFile(tmp_path / "images.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("1.png", png(1))
    whole = (tmp_path / "images.zip").read_bytes()
    (tmp_path / "images.zip").write_bytes(whole[:45] + b"xxxx" + whole[49:])
    with pytest.raises(DataError, match=r"record 1 \(r1\): .*images.zip: 1.png cannot be read"):
        read(path)
    (tmp_path / "images.zip").write_bytes(whole[:60])
    with pytest.raises(DataError, match=r"images.zip: cannot be read as a zip file"):
        read(path)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    silent = ImageText("bad", (), (Turn("human", "Hello?"),))
    grey = ImageText("grey", (np.zeros((6, 8), np.uint8),), records()[0].turns)
    for bad, words in (([silent], "record bad: has no answer"), ([grey], "record grey: image 0"), ([], "no records")):
        with pytest.raises(DataError, match=words):
            Llava.write(tmp_path / "out", [*(records()[:1] if bad else []), *bad])
        assert list(tmp_path.iterdir()) == []


def test_other_json_is_not_taken_for_it(tmp_path: Path) -> None:
    for name, content in (("a.json", [{"image_id": 1}]), ("b.json", {"hz": 3}), ("c.txt", [row(0)]), ("d.json", 3)):
        (tmp_path / name).write_text(json.dumps(content))
        assert not Llava.detect(tmp_path / name)
    llava(tmp_path / "set", [row(0)])
    (tmp_path / "set" / "second.json").write_text(json.dumps([row(1)]))
    with pytest.raises(DataError, match=r"found chat.json, second.json. Name the file itself"):
        Llava(tmp_path / "set")
    assert TEXT_FORMATS["llava"] is Llava


def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    path = llava(tmp_path, [row(0), row(1)])
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(150):
        content = bytearray(whole)
        for place in rng.integers(0, len(content), rng.integers(1, 4)):
            content[place] = rng.choice(np.frombuffer(b'"{}[]:,\\x9\xff', np.uint8))
        path.write_bytes(content[: rng.integers(1, 2 * len(content))])
        with contextlib.suppress(DataError):
            read(path)


def test_mutated_values_are_read_or_refused(tmp_path: Path) -> None:
    path = llava(tmp_path, [row(0)])
    rng = np.random.default_rng(0)
    odd: list[Any] = [None, 1, "", [], {}, [None], {"from": "gpt"}, "\0", "a" * 5000, True, 1e999]
    for _ in range(100):
        turn = {"from": odd[rng.integers(len(odd))], "value": odd[rng.integers(len(odd))]}
        changes = {key: odd[rng.integers(len(odd))] for key in ("id", "image", "conversations") if rng.random() < 0.4}
        path.write_text(json.dumps([row(0, **({"conversations": [turn]} | changes))]))
        with contextlib.suppress(DataError):
            read(path)
