"""The record of a run: metrics.jsonl, always."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sinew.core.errors import SinewError
from sinew.core.files import fsync_path, write_text

Row = dict[str, Any]


class MetricsLog:
    """Appends rows to ``metrics.jsonl``; each has "update", the rest are numbers by name.

    Args:
        path: the file; made when needed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row; numbers that are not finite become null, as JSON has no word for them.

        Raises:
            SinewError: the disk is full or the file cannot be written.
        """
        finite = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in row.items()}
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(finite, allow_nan=False) + "\n")
        except OSError as error:
            raise SinewError(
                f"{self.path}: could not be written ({error.strerror}). Make room; the same command goes on from the "
                "last checkpoint."
            ) from error

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
    """Return the whole rows of a metrics file, in order; a torn line is left out, and a missing file has none."""
    rows: list[Row] = []
    if not path.exists():
        return rows
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict) and isinstance(row.get("update"), int):
            rows.append(row)
    return rows
