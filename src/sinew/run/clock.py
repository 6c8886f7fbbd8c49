"""Where the time of a run went, over all the processes and restarts it took."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from sinew.core.files import read_json, write_json
from sinew.core.machine import cpu_seconds


class Clock:
    """Adds up wall and CPU seconds by phase in a file; CPU time includes worker processes.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.phases: dict[str, dict[str, float]] = read_json(path)["phases"] if path.exists() else {}

    @contextmanager
    def phase(self, name: str) -> Generator[None]:
        """Time a phase; an exception ends it too, so that work before an interruption counts."""
        wall, cpu = time.perf_counter(), cpu_seconds()
        try:
            yield
        finally:
            spent = self.phases.setdefault(name, {"wall_s": 0.0, "cpu_s": 0.0})
            spent["wall_s"] += time.perf_counter() - wall
            spent["cpu_s"] += cpu_seconds() - cpu
            write_json(self.path, {"schema_version": 1, "phases": self.phases})

    @property
    def wall_s(self) -> float:
        """Wall time of all phases [s]."""
        return sum(phase["wall_s"] for phase in self.phases.values())

    @property
    def cpu_s(self) -> float:
        """CPU time of all phases [s]."""
        return sum(phase["cpu_s"] for phase in self.phases.values())
