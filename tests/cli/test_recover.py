from __future__ import annotations

from pathlib import Path

import pytest

from data.test_recorder import record
from sinew.cli.main import main


def test_what_was_broken_off_is_saved_and_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path, (4, 3))
    for number, name in enumerate(("episode_000000", "episode_000001")):
        file = tmp_path / f"{name}.rec"
        file.write_bytes(file.read_bytes()[: -20 if number else 30])
        file.rename(tmp_path / f"{name}.open")
    assert main(["data", "info", str(tmp_path)]) == 2
    assert "sinew data recover" in capsys.readouterr().err
    assert main(["data", "recover", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "removed one without a whole frame" in shown
    assert "episode_000001.rec: 3 frames" in shown
    assert main(["data", "info", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "recording" in shown
    assert "3, 3 to 3 each" in shown
