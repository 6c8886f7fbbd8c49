from __future__ import annotations

from pathlib import Path

import pytest

from sinew.cli.main import main


def test_the_expert_is_filmed_without_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "film.mp4"
    words = ["play", "tabletop", "--policy", "expert", "--instruction", "touch the red ball", "--size", "64"]
    assert main([*words, "--out", str(out)]) == 0
    assert out.stat().st_size > 1000
    assert "success in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tabletop"], "sinew play tabletop --policy expert"),
        (["nowhere"], "no such directory"),
        (["tabletop", "--policy", "expert", "--out", "a.mp4"], "without --web"),
        (["tabletop", "--policy", "expert", "--instruction", "lift it", "--size", "8"], "64 to 2048"),
        (
            ["nowhere", "--instruction", "lift it", "--out", "a/film.gif"],
            "--out a/film.gif: films are MP4, nothing else. Write: --out a/film.mp4",
        ),
        (["tabletop", "--policy", "expert", "--instruction", " "], "nothing was said"),
        (
            ["tabletop", "--policy", "expert", "--instruction", "touch the red ball", "--state", "seen/lift/xx"],
            "Write SPLIT/TASK/NUMBER",
        ),
        (["tabletop", "--policy", "expert", "--limits", "nowhere.json"], "nowhere.json"),
    ],
)
def test_mistakes_are_one_message(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("sinew: ")
