from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from data.formats.pairs import png, shard
from data.formats.recordings import GOLDEN, SPEC, change_json, smooth_episode
from sinew.cli.main import main
from sinew.data.formats.hdf5 import Hdf5
from sinew.data.formats.ingest import open_source
from sinew.data.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    made = Store.create(tmp_path / "store", SPEC)
    made.append([smooth_episode(number) for number in range(5)])
    made.unlock()
    return made.path


def test_convert_writes_and_info_describes(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["data", "convert", str(store), "--to", "lerobot", "--storage", "image", "--out", str(out)]) == 0
    assert len(open_source(out).lengths) == 5
    capsys.readouterr()
    assert main(["data", "info", str(out)]) == 0
    shown = capsys.readouterr().out
    for words in (
        "lerobot",
        "35, 5 to 9 each",
        "lift the left one   in 3 episodes",
        "16 x 20 px",
        "[m] -1 .. 1, recorded",
    ):
        assert words in shown
    assert main(["data", "info", str(store)]) == 0
    assert "store of sinew" in capsys.readouterr().out
    assert main(["data", "convert", str(store), "--to", "lerobot", "--out", str(out)]) == 2
    assert "something here already" in capsys.readouterr().err


def test_info_says_what_is_missing_and_what_to_write(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "info", str(GOLDEN / "h264")]) == 0
    shown = capsys.readouterr().out
    for words in ("camera front", "state_units   their units", '"action": ["dx", "dy"]'):
        assert words in shown


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file. Write the spec.json there"),
        ("{", "not valid JSON"),
        ('{"hertz": 10, "acton": ["x"]}', "not a valid spec.json.\n  hertz: unknown setting"),
        ('{"acton": ["x"]}', "acton: unknown setting; did you mean action?"),
    ],
)
def test_a_spec_that_was_named_must_be_one(
    content: str | None, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "spec.json"
    if content is not None:
        spec.write_text(content)
    assert main(["data", "info", str(GOLDEN / "h264"), "--spec", str(spec)]) == 2
    assert words in capsys.readouterr().err


def test_images_with_text_are_described_and_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = shard(tmp_path / "a.tar", {"0.png": png(0), "0.txt": b"A ramp."})
    assert main(["data", "convert", str(path), "--to", "llava", "--out", str(tmp_path / "out")]) == 0
    assert main(["data", "info", str(tmp_path / "out")]) == 0
    assert "gpt: A ramp." in capsys.readouterr().out


def test_commands_are_listed_and_unknown_ones_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data"]) == 0
    assert "sinew data info" in capsys.readouterr().out
    assert main(["data", "shred"]) == 2
    assert "There are: info, convert" in capsys.readouterr().err


def test_a_missing_data_set_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "info", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == f"sinew: {tmp_path / 'none'}: no such data set.\n"


@pytest.mark.parametrize(
    ("changes", "count", "words"),
    [
        ({}, 3, "training          takes it: sinew train bc --data"),
        ({"instruction": "", "task": ""}, 3, "refused: the instruction is empty in 3 of 3 episodes"),
        ({}, 1, "refused: it has 1 episodes; at least 2 are needed"),
    ],
)
def test_info_says_whether_training_would_take_it(
    changes: dict[str, Any], count: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "demos.hdf5"
    Hdf5.write(path, [dataclasses.replace(smooth_episode(number), **changes) for number in range(count)])
    assert main(["data", "info", str(path)]) == 0
    assert " ".join(words.split()) in " ".join(capsys.readouterr().out.split())


def test_info_says_that_training_refuses_what_lacks_units(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_json(store / "spec.json", action_units=["m", ""])
    assert main(["data", "info", str(store)]) == 0
    assert "refused: every state and action value needs a name and a unit; found action:" in capsys.readouterr().out
