from __future__ import annotations

import numpy as np
import pytest

from sinew.core.errors import DataError
from sinew.data.formats.source import check_lengths, first_of, numbers, range_of


def test_a_value_that_is_no_number_does_not_spoil_the_range() -> None:
    columns = {"a": np.array([[1.0, np.nan], [3.0, 2.0]], np.float32), "b": np.array([[2.0, 5.0]], np.float32)}
    assert range_of(columns, 2) == ((1.0, 2.0), (3.0, 5.0))
    with pytest.raises(DataError, match="a has 2 values a frame, 3 are said"):
        range_of(columns, 3)


def test_numbers_become_rows_of_single_precision() -> None:
    assert numbers(np.array([1, 2]), "x", floating=False).shape == (2, 1)
    assert numbers(np.array([[1.5]]), "x", floating=True).dtype == np.float32
    with pytest.raises(DataError, match="x is int64, floating point"):
        numbers(np.array([1, 2]), "x", floating=True)
    with pytest.raises(DataError, match="x has shape"):
        numbers(np.zeros((2, 2, 2)), "x", floating=True)


def test_columns_must_be_of_one_length_and_not_empty() -> None:
    assert check_lengths("x", {"a": 3, "b": 3}) == 3
    with pytest.raises(DataError, match=r"differ in length \(a 3, b 2 frames\)"):
        check_lengths("x", {"a": 3, "b": 2})
    with pytest.raises(DataError, match="x: has no frames"):
        check_lengths("x", {"a": 0})


def test_long_lists_are_cut_in_messages() -> None:
    assert first_of(list("abcdefg")) == "a, b, c, d, e and 2 more"
