"""Pictures in a terminal: two pixels per character, by half blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.text import Text


def half_blocks(picture: NDArray[np.uint8], columns: int) -> Text:
    """Return a picture (h, w, 3) as coloured text, ``columns`` wide and half as many lines high.

    The picture is averaged down to the size shown; a terminal without colours shows plain blocks.
    """
    from rich.color import Color
    from rich.style import Style
    from rich.text import Text

    small = shrink(picture, columns)
    text = Text()
    for upper, lower in zip(small[0::2], small[1::2], strict=False):
        for above, below in zip(upper, lower, strict=True):
            text.append("▀", Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below)))
        text.append("\n")
    return text


def shrink(picture: NDArray[np.uint8], columns: int) -> NDArray[np.int64]:
    """Return a picture (h, w, 3) averaged down to ``columns`` wide, with an even number of lines."""
    height, width = picture.shape[:2]
    columns = min(columns, width)
    lines = max(2, round(height * columns / width) // 2 * 2)
    rows = np.linspace(0, height, lines + 1).astype(int)
    cols = np.linspace(0, width, columns + 1).astype(int)
    lines_summed = np.add.reduceat(picture.astype(np.int64), rows[:-1], axis=0)
    sums: NDArray[Any] = np.add.reduceat(lines_summed, cols[:-1], axis=1)
    counts = np.diff(rows)[:, None] * np.diff(cols)[None, :]
    return sums // counts[..., None]
