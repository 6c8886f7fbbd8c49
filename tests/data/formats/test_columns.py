from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sinew.core.errors import DataError
from sinew.core.types import SensorSpec
from sinew.data.formats.columns import (
    Columns,
    as_reading,
    columns_file,
    gather,
    names_of_parts,
    parts_of,
    read_columns,
    size_of_parts,
)

KNOWN = {"obs/pos": 3, "obs/grip": 1, "left/q": 2, "right/q": 2}
VALUES = {name: np.arange(4 * size, dtype=np.float32).reshape(4, size) for name, size in KNOWN.items()}


def test_columns_and_ranges_of_them_stand_side_by_side() -> None:
    parts = parts_of(["obs/grip", "obs/pos[1:3]"], KNOWN, "here")
    assert size_of_parts(parts) == 3
    assert names_of_parts(parts, KNOWN) == ("grip", "pos.1", "pos.2")
    wanted = np.concatenate([VALUES["obs/grip"], VALUES["obs/pos"][:, 1:]], axis=1)
    np.testing.assert_array_equal(gather(parts, VALUES.__getitem__, "here"), wanted)


def test_short_names_are_kept_apart() -> None:
    parts = parts_of(["left/q", "right/q"], KNOWN, "here")
    assert names_of_parts(parts, KNOWN) == ("left/q.0", "left/q.1", "right/q.0", "right/q.1")


def test_the_values_of_one_column_are_for_the_owner_to_name() -> None:
    assert names_of_parts(parts_of(["obs/pos"], KNOWN, "here"), KNOWN) is None


@pytest.mark.parametrize("name", ["obs/none", "obs/pos[2:2]", "obs/pos[1:4]", "obs/pos[a:b]", ""])
def test_columns_that_are_not_there_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="here"):
        parts_of([name], KNOWN, "here")


def test_a_state_without_a_column_is_refused() -> None:
    with pytest.raises(DataError, match="here: no column holds a state"):
        gather((), VALUES.__getitem__, "here")


def test_the_file_lies_beside_the_spec(tmp_path: Path) -> None:
    assert columns_file(tmp_path / "spec.json") == tmp_path / "columns.json"
    assert columns_file(tmp_path / "demo.spec.json") == tmp_path / "demo.columns.json"
    assert read_columns(tmp_path / "spec.json") == Columns()
    (tmp_path / "columns.json").write_text('{"state": ["a"], "bgr": ["cam"]}')
    assert read_columns(tmp_path / "spec.json") == Columns(state=("a",), bgr=("cam",))
    (tmp_path / "columns.json").write_text('{"states": ["a"]}')
    with pytest.raises(DataError, match=r"columns\.json"):
        read_columns(tmp_path / "spec.json")


def test_readings_keep_their_values_or_are_refused() -> None:
    depth = np.arange(24, dtype=np.uint16).reshape(2, 3, 4, 1)
    np.testing.assert_array_equal(as_reading(depth, SensorSpec((3, 4), "mm", 10, "uint16"), "here"), depth[..., 0])
    assert as_reading(depth, SensorSpec((3, 4, 1), "mm", 10), "here").dtype == np.float32
    with pytest.raises(DataError, match=r"a reading has shape \(3, 4, 1\)"):
        as_reading(depth, SensorSpec((4, 3), "mm", 10, "uint16"), "here")
    with pytest.raises(DataError, match="is float64, the spec says uint16"):
        as_reading(depth.astype(float), SensorSpec((3, 4), "mm", 10, "uint16"), "here")
