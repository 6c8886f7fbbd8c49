"""What a diagnosis says: a fault with its evidence, its likely cause and what helps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One fault of a training.

    Attributes:
        fault: its name, such as "overfitting".
        where: the part, task or input it was found in; "" where it is the run's.
        update: of the newest evidence.
        evidence: what was measured, with numbers.
        cause: what most often leads to it.
        remedy: what to do, flags included.
    """

    fault: str
    where: str
    update: int
    evidence: str
    cause: str
    remedy: str

    @property
    def key(self) -> tuple[str, str]:
        """What makes it the same finding at a later update."""
        return self.fault, self.where

    @property
    def title(self) -> str:
        """The fault and where it is."""
        return f"{self.fault}, {self.where}" if self.where else self.fault

    @property
    def lines(self) -> tuple[str, str, str]:
        """Three sentences for a terminal."""
        return f"{self.title}: {self.evidence}", f"likely: {self.cause}", f"try: {self.remedy}"

    def row(self, update: int) -> dict[str, Any]:
        """Return it as a row of metrics.jsonl, written after ``update``."""
        return {"update": update, "finding": asdict(self)}


def told(rows: list[dict[str, Any]]) -> tuple[Finding, ...]:
    """Return the findings that rows of metrics.jsonl hold, in the order they were made."""
    return tuple(read(row["finding"]) for row in rows if isinstance(row.get("finding"), Mapping))


def read(content: Mapping[str, Any]) -> Finding:
    """Return a finding from its row; what an older or newer version left out is empty."""
    words = {name: str(content.get(name, "")) for name in ("fault", "where", "evidence", "cause", "remedy")}
    return Finding(update=int(content.get("update", 0)), **words)
