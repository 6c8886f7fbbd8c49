"""The record of a run: metrics.jsonl, always, and a picture of it."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sinew.core.files import fsync_path, write_bytes, write_text

Row = dict[str, Any]


class MetricsLog:
    """Appends rows to ``metrics.jsonl``; each has "update", the rest are numbers by name.

    Args:
        path: the file; made when needed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row; numbers that are not finite become null, as JSON has no word for them."""
        finite = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in row.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(finite, allow_nan=False) + "\n")

    def sync(self) -> None:
        """Flush to the disk; called before a checkpoint that relies on the rows so far."""
        if self.path.exists():
            fsync_path(self.path)

    def cut(self, update: int) -> None:
        """Drop a torn last line and the rows after ``update``, which will be written again."""
        if not self.path.exists():
            return
        lines = [json.dumps(row) for row in read_rows(self.path) if row["update"] <= update]
        content = "".join(f"{line}\n" for line in lines)
        if content != self.path.read_text(encoding="utf-8", errors="replace"):
            write_text(self.path, content)


def read_rows(path: Path) -> list[Row]:
    """Return the whole rows of a metrics file, in order; a torn line is left out."""
    rows: list[Row] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict) and isinstance(row.get("update"), int):
            rows.append(row)
    return rows


def draw_curves(rows: list[Row], path: Path) -> None:
    """Draw losses, learning rate, gradient norm and scores over the updates into a PNG.

    Args:
        rows: as ``read_rows`` returns them.
        path: the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2).flatten()
    for axis, (title, names) in zip(axes, _panels(rows).items(), strict=True):
        for name in names:
            points = [(row["update"], row[name]) for row in rows if row.get(name) is not None]
            axis.plot(*zip(*points, strict=True), label=name, marker="o" if len(points) < 10 else None)
        axis.set_title(title)
        axis.set_xlabel("update")
        axis.grid(alpha=0.3)
        if title in ("losses", "gradient norm") and names:
            axis.set_yscale("log")
        if len(names) > 1:
            axis.legend()
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    write_bytes(path, content.getvalue())


def _panels(rows: list[Row]) -> dict[str, list[str]]:
    """Sort the columns that hold numbers into the four panels."""
    names = [name for name in dict.fromkeys(key for row in rows for key in row) if _holds_numbers(rows, name)]
    rates = [name for name in names if name.split("/")[0] == "lr"]
    norms = [name for name in names if "grad_norm" in name]
    scores = [name for name in names if name.split("/")[0] in ("score", "success")]
    other = {*rates, *norms, *scores, "update", "samples_per_s", "elapsed_s", "skipped"}
    losses = [name for name in names if name not in other]
    return {"losses": losses, "score": scores, "learning rate": rates, "gradient norm": norms}


def _holds_numbers(rows: list[Row], name: str) -> bool:
    values = [row[name] for row in rows if row.get(name) is not None]
    return bool(values) and all(isinstance(value, int | float) for value in values)
