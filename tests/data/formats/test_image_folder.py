from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.formats.samples import image_folder, smooth
from sinew.core.errors import DataError
from sinew.data.episode import Episode
from sinew.data.formats.image_folder import ImageFolder
from sinew.data.formats.ingest import open_source, read_episode, robot_of


def read_all(path: Path) -> list[Episode]:
    source = open_source(path)
    spec = robot_of(source)
    return [read_episode(source, number, spec) for number in range(len(source.lengths))]


def change(path: Path, image: str, **values: Any) -> None:  # noqa: ANN401
    """Change the entry of an image; None takes a key out."""
    rows = json.loads((path / "metadata.json").read_text())
    for row in rows:
        if row["image_id"] == image:
            row.update(values)
    rows = [{name: value for name, value in row.items() if value is not None} for row in rows]
    (path / "metadata.json").write_text(json.dumps(rows))


def test_episodes_are_put_together_by_sequence_and_time(tmp_path: Path) -> None:
    path = image_folder(tmp_path)
    source = open_source(path)
    assert isinstance(source, ImageFolder)
    assert (source.names, source.lengths) == (("b", "a"), (4, 3))
    assert source.instructions == ("do b", "do a")
    for episode, frames in zip(read_all(path), (4, 3), strict=True):
        ticks = np.arange(frames)
        np.testing.assert_array_equal(episode.action, np.stack([ticks / 10, 0.5 - ticks], axis=1).astype(np.float32))
        images = episode.images["camera"].transpose(0, 2, 3, 1).astype(int)
        assert np.abs(images - smooth(frames, seed=frames)).mean() < 2
        assert episode.state.shape == (frames, 0)


def test_tokens_of_another_tokeniser_are_ignored_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        source = open_source(image_folder(tmp_path))
    assert [record.getMessage() for record in caplog.records] == [
        f"{source.path}/metadata.json: language_tokens are ignored; the sentence is tokenised again."
    ]
    assert source.unread == ("language_tokens",)


def test_png_is_read_too(tmp_path: Path) -> None:
    path = image_folder(tmp_path)
    (path / "images/a1.jpg").unlink()
    Image.fromarray(smooth(1)[0]).save(path / "images/a1.png")
    np.testing.assert_array_equal(read_all(path)[1].images["camera"][1].transpose(1, 2, 0), smooth(1)[0])


BAD = {
    "no action": ("a1", {"action": None}, "has no action. Write it"),
    "text": ("a1", {"action": ["left"]}, "action is ['left'] and timestamp"),
    "nested": ("a1", {"action": [[0.1, 0.2]]}, "a list of numbers"),
    "other size": ("a1", {"action": [0.1]}, "sequence a, frame 1: action has 1 values, 2 before"),
    "no time": ("a1", {"timestamp": "noon"}, "timestamp 'noon'"),
    "same time": ("a1", {"timestamp": 100.0}, "sequence a, frame 1 (entry"),
    "a gap": ("b3", {"timestamp": 100.6}, "sequence b, frame 3 (entry 0): comes 0.4 after the one before"),
    "other sentence": ("a2", {"instruction": "stop"}, "frame 2: the instruction changes from 'do a' to 'stop'"),
    "no sentence": ("a2", {"instruction": 7}, "instruction is 7, a sentence is needed"),
    "a way out": ("a2", {"image_id": "../../secret"}, "image_id '../../secret' leads out of the folder"),
    "another disk": ("a2", {"image_id": "/etc/secret"}, "leads out of the folder"),
    "no image": ("a2", {"image_id": "a9"}, "sequence a, frame 2: the image a9 cannot be read (No such file"),
    "long name": ("a2", {"image_id": "a" * 300}, "cannot be read (File name too long)"),
    "not a number": ("a2", {"action": [0.0, float("nan")]}, "frame 2: action.b is nan"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_entries_are_named(name: str, tmp_path: Path) -> None:
    image, values, words = BAD[name]
    path = image_folder(tmp_path)
    change(path, image, **values)
    with pytest.raises(DataError) as caught:
        read_all(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", ["{}", "[]", "[3]", "[" * 100_000, "[1e400", '[{"action": ' + "9" * 5000])
def test_what_is_no_list_of_frames_is_refused(content: str, tmp_path: Path) -> None:
    path = image_folder(tmp_path)
    (path / "metadata.json").write_text(content)
    with pytest.raises(DataError, match=r"metadata\.json"):
        open_source(path)


def test_images_of_two_sizes_are_refused(tmp_path: Path) -> None:
    path = image_folder(tmp_path)
    Image.fromarray(smooth(1, 8, 8)[0]).save(path / "images/a2.jpg")
    with pytest.raises(DataError, match=r"a2.jpg: is 8 x 8 px, the first image of the data set is 16 x 20"):
        read_all(path)
