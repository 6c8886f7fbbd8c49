"""The command that serves: sizes and mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from sinew.cli.main import main
from sinew.cli.serve import parse_size
from sinew.core.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"), [("16MiB", 2**24), ("1.5 kB", 1500), ("4096", 4096), ("2gib", 2**31), ("7B", 7)]
)
def test_sizes_are_read(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "MiB", "-1", "16 apples", "1e9", "inf"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="wanted a size such as 16MiB"):
        parse_size(text)


def test_a_path_without_a_policy_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", str(tmp_path / "nothing")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"sinew: {tmp_path}/nothing: ")
    assert "Traceback" not in said
