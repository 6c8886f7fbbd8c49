"""Turns numbers into the coordinates and labels of small inline charts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sinew.core.errors import DataError

WIDTH, HEIGHT = 240.0, 96.0
"""Of a line chart's drawing area, in its own units."""
MAX_POINTS = 160
FEW_POINTS = 20
"""Up to so many, a curve is drawn as it is; smoothed it would be nearly flat."""
BETTER = {True: "lower is better", False: "higher is better", None: ""}


@dataclass(frozen=True)
class Curve:
    """A quantity over training.

    Attributes:
        name: what it is, such as a key of metrics.jsonl.
        x: updates. y: values, same length; what is not finite is left out.
        lower_is_better: for the reader's sake; None where neither is.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    lower_is_better: bool | None = None

    @property
    def finite(self) -> tuple[tuple[float, float], ...]:
        """The finite pairs (x, y); two at least make a line."""
        pairs = zip(self.x, self.y, strict=False)
        return tuple((x, y) for x, y in pairs if math.isfinite(x) and math.isfinite(y))


@dataclass(frozen=True)
class Line:
    """A curve as it is drawn in ``WIDTH`` x ``HEIGHT``.

    Attributes:
        name: what it is. path: SVG path, smooth where there are many values. raw: SVG path of every value under it.
        top: label of the upper edge. bottom: of the lower edge. last: of the last value. end: of the right edge.
        log: whether the vertical axis is logarithmic. hint: how to read it, in a few words.
    """

    name: str
    path: str
    raw: str
    top: str
    bottom: str
    last: str
    end: str
    log: bool
    hint: str


def percent(rate: float) -> str:
    """Return whole per cent, but write neither 0 nor 100 where it is not exactly that."""
    return f"{100 * rate:.0f}" if rate in (0, 1) else f"{min(max(100 * rate, 1), 99):.0f}"


def number(value: float, *, digits: int = 3) -> str:
    """Return a value with so many significant digits, without an exponent where that reads badly."""
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.{digits}g}"
    return f"{value:.{digits - 1}e}"


def line(curve: Curve) -> Line:
    """Return a curve's drawing: long ones as means over equal parts, wide positive ranges on a logarithmic axis.

    Raises:
        DataError: fewer than two finite values, or x and y of different length.
    """
    if len(curve.x) != len(curve.y):
        raise DataError(f"curve {curve.name}: {len(curve.x)} updates but {len(curve.y)} values.")
    pairs = curve.finite
    if len(pairs) < 2:
        raise DataError(f"curve {curve.name}: {len(pairs)} finite values; two at least make a line.")
    xs, ys = (np.array(values) for values in zip(*_thin(pairs, MAX_POINTS), strict=True))
    low, high = float(ys.min()), float(ys.max())
    log = low > 0 and high / low > 20
    heights = np.log(ys) if log else ys
    smooth = heights
    if len(heights) > FEW_POINTS:
        smooth = np.array([heights[max(place - 3, 0) : place + 4].mean() for place in range(len(heights))])
    return Line(
        name=curve.name,
        path=_path(xs, smooth, heights),
        raw=_path(xs, heights, heights),
        top=number(high, digits=2),
        bottom=number(low, digits=2),
        last=number(pairs[-1][1]),
        end=number(pairs[-1][0]),
        log=log,
        hint=", ".join(filter(None, (BETTER[curve.lower_is_better], "log scale" if log else ""))),
    )


def _thin(pairs: Sequence[tuple[float, float]], count: int) -> list[tuple[float, float]]:
    """Return at most ``count`` pairs, each the mean of its neighbours."""
    parts = np.array_split(np.array(pairs), min(count, len(pairs)))
    return [(float(part[:, 0].mean()), float(part[:, 1].mean())) for part in parts]


def _path(xs: np.ndarray, heights: np.ndarray, within: np.ndarray) -> str:
    span_x, span_y = float(np.ptp(xs)) or 1.0, float(np.ptp(within)) or 1.0
    across = (xs - xs.min()) / span_x * WIDTH
    down = HEIGHT - (heights - within.min()) / span_y * HEIGHT
    return "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in zip(across, down, strict=True))
