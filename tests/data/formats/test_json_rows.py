from __future__ import annotations

import json
from pathlib import Path

import pytest

from sinew.core.errors import DataError
from sinew.data.formats.json_rows import BLOCK, json_rows

LONG = {"text": 'ü"{[,' * BLOCK, "n": 1}
ROWS = [{"a": 1}, {}, LONG, {"b": [1, {"c": "]"}]}]


@pytest.mark.parametrize("indent", [None, 1])
def test_a_list_is_read_object_by_object(tmp_path: Path, indent: int | None) -> None:
    (tmp_path / "a.json").write_text(json.dumps(ROWS, indent=indent), encoding="utf-8-sig")
    assert list(json_rows(tmp_path / "a.json", longest=1 << 23)) == ROWS


def test_lines_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS) + "\n\n")
    assert list(json_rows(tmp_path / "a.jsonl", longest=1 << 23)) == ROWS


@pytest.mark.parametrize("text", ["[]", "", " \n"])
def test_nothing_is_no_object(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert list(json_rows(tmp_path / "a.json", longest=9)) == []


BAD = {
    '[{"a": 1}, {"b"': "record 1: cannot be read as JSON",
    '[{"a": 1}': "record 1: .*the list has no end",
    '[{"a": 1} {"b": 1}]': "record 1: .*a comma was expected",
    '[{"a": 1},]': "record 1: .*an object",
    '[{"a": 1}, 2]': "record 1: .*an object",
    '[{"a": 1}] x': "record 1: .*something follows",
    '{"a": 1}]': "record 1: .*never began",
    "[[": "record 0: .*an object",
    '{"a": ' + "[" * 100_000: "record 0: .*(recursion|nested)",
    '{"a": ' + "1" * 9000 + "}": "record 0: .*(digits|not whole)",
}


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_what_is_not_a_list_of_objects_is_refused_with_its_number(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=BAD[text]) as caught:
        list(json_rows(tmp_path / "a.json", longest=1 << 20))
    assert "a.json" in str(caught.value)


def test_an_object_that_never_ends_is_given_up_early(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": "' + "x" * (1 << 22))
    with pytest.raises(DataError, match="not whole within 1000 characters"):
        list(json_rows(tmp_path / "a.json", longest=1000))


def test_bytes_that_are_no_text_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'[{"a": "\xff"}]')
    with pytest.raises(DataError, match="record 0"):
        list(json_rows(tmp_path / "a.json", longest=1000))
    with pytest.raises(DataError, match="could not be read"):
        list(json_rows(tmp_path / "none.json", longest=1000))
