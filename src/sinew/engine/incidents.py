"""What happened to a run beside learning: written down as it happens, and told on its card."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from sinew.core.errors import SinewError
from sinew.engine.distributed import world

Kind = Literal["skipped update", "spike", "rollback", "resumed", "broken checkpoint", "stopped", "early stop"]


@dataclass(frozen=True)
class Incident:
    """One thing that happened.

    Attributes:
        kind: of it.
        update: that it concerns; 0 before the first.
        text: a sentence.
    """

    kind: str
    update: int
    text: str


class Incidents:
    """Appends to a file that, unlike metrics.jsonl, is never cut when a run goes back: what happened has happened.

    Args:
        path: incidents.jsonl of a run; rank 0 writes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, kind: Kind, update: int, text: str) -> None:
        """Append one and flush it to the disk.

        Raises:
            SinewError: the disk is full or the file cannot be written.
        """
        if not world().is_main:
            return
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(Incident(kind, update, text))) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise SinewError(f"{self.path}: could not be written ({error.strerror}). Make room.") from error


def happened(path: Path, rows: Sequence[Mapping[str, Any]]) -> tuple[Incident, ...]:
    """Return the incidents of a run in their order; each once, though updates done again after a kill tell it again.

    Args:
        path: incidents.jsonl; where there is none, as in runs of older versions, the log's counts are told.
        rows: of metrics.jsonl.
    """
    if not path.exists():
        return tuple(_counted(rows))
    found: dict[tuple[str, int, str], Incident] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            told = json.loads(line)
            one = Incident(str(told["kind"]), int(told["update"]), str(told["text"]))
        except (ValueError, KeyError, TypeError):  # the line at which a kill came
            continue
        key = (one.kind, one.update, one.text if one.kind in ("resumed", "broken checkpoint") else "")
        found.setdefault(key, one)
    return tuple(found.values())


def _counted(rows: Sequence[Mapping[str, Any]]) -> Iterator[Incident]:
    """Yield what the counts in the log say; they give the row after which, not the update."""
    skipped = 0
    for row in rows:
        count = int(row.get("skipped") or 0)
        if count > skipped:
            yield Incident("skipped update", row["update"], f"{count - skipped} not finite up to here: skipped.")
        skipped = max(skipped, count)
        if row.get("spikes"):
            yield Incident("spike", row["update"], f"The loss jumped {int(row['spikes'])} x up to here.")
