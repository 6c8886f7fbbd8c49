from __future__ import annotations

import math
import re

import pytest

from sinew.core.errors import DataError
from sinew.evaluate.chart import HEIGHT, MAX_POINTS, WIDTH, Curve, line, number, percent


def corners(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.-]+) ([\d.-]+)", path)]


def test_a_line_runs_from_edge_to_edge_and_higher_is_up() -> None:
    drawn = line(Curve("loss", (10, 20, 30), (3.0, 2.0, 1.0)))
    assert corners(drawn.raw) == [(0, 0), (WIDTH / 2, HEIGHT / 2), (WIDTH, HEIGHT)]
    assert (drawn.top, drawn.bottom, drawn.last, drawn.end, drawn.log) == ("3", "1", "1", "30", False)


def test_wide_ranges_are_logarithmic() -> None:
    drawn = line(Curve("loss", (0, 1, 2), (100.0, 10.0, 1.0), lower_is_better=True))
    assert drawn.log
    assert drawn.hint == "lower is better, log scale"
    assert corners(drawn.raw)[1] == (WIDTH / 2, HEIGHT / 2)
    assert not line(Curve("gain", (0, 1), (-1.0, 1000.0))).log


def test_long_curves_are_thinned_and_gaps_left_out() -> None:
    x = tuple(range(1000))
    y = tuple(math.nan if value % 3 else float(value) for value in x)
    drawn = line(Curve("loss", x, y))
    assert len(corners(drawn.raw)) == MAX_POINTS
    assert drawn.last == "999"


def test_only_a_curve_of_many_points_is_smoothed() -> None:
    few, many = (line(Curve("loss", tuple(range(size)), tuple(range(size)))) for size in (4, 40))
    assert few.path == few.raw
    assert max(y for _, y in corners(many.path)) < max(y for _, y in corners(many.raw)) == HEIGHT


def test_a_constant_curve_is_a_flat_line() -> None:
    assert {y for _, y in corners(line(Curve("loss", (0, 1, 2), (5.0, 5.0, 5.0))).raw)} == {HEIGHT}


@pytest.mark.parametrize(("x", "y"), [((0.0,), (1.0,)), ((0.0, 1.0), (1.0, math.inf)), ((0.0,), (1.0, 2.0))])
def test_what_makes_no_line_is_refused(x: tuple[float, ...], y: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match="loss"):
        line(Curve("loss", x, y))


def test_percent_says_all_or_nothing_only_where_it_is_so() -> None:
    assert [percent(rate) for rate in (0, 0.001, 0.5, 0.999, 1)] == ["0", "1", "50", "99", "100"]


def test_numbers_read_well_at_any_size() -> None:
    assert [number(value) for value in (0, 0.00051, 0.0194, 1.5, 4500, 2e7, 1e-7)] == [
        "0", "0.00051", "0.0194", "1.5", "4,500", "2.00e+07", "1.00e-07",
    ]  # fmt: skip
