"""The batches that a run went back from and leaves out: a file beside its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sinew.core.files import read_json, write_json
from sinew.engine.distributed import world

BEFORE = 8
"""Batches left out before a spike: the step that led there comes before the loss that shows it."""


class Skipped:
    """Which updates are passed over; on disk before any checkpoint is removed, so that a kill forgets none.

    Args:
        path: the file; made at the first spike that is gone back from.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        content: dict[str, Any] = read_json(path) if path.exists() else {"spans": [], "back": None}
        self._spans: list[list[int]] = content["spans"]
        self.back: int | None = content["back"]
        """The update that a run was going back to when it was stopped; None when it had."""

    def __contains__(self, update: int) -> bool:
        """Whether an update (counted from 1) is passed over."""
        return any(first <= update <= last for first, last in self._spans)

    def __len__(self) -> int:
        """Return how often the run went back."""
        return len(self._spans)

    def add(self, first: int, last: int, back: int) -> None:
        """Pass over these updates from now on, and go back to ``back``."""
        self._spans.append([first, last])
        self.back = back
        self._write()

    def done(self) -> None:
        """Note that the run stands where it went back to."""
        self.back = None
        self._write()

    def _write(self) -> None:
        if not world().is_main:
            return
        write_json(self.path, {"schema_version": 1, "spans": self._spans, "back": self.back})
