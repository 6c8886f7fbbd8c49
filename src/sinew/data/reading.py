"""How a log is read: which episodes are kept for validation, and what was said where nothing is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from sinew.data.layout import Record


@dataclass(frozen=True)
class Reading:
    """What a reader makes of recorded episodes; the files stay as they are.

    Attributes:
        held_out: numbers of the episodes kept for validation; None leaves it to the log.
        instruction: the sentence of episodes that have none.
    """

    held_out: frozenset[int] | None = None
    instruction: str = ""

    def of(self, records: Sequence[Record]) -> list[Record]:
        """Return the records as they are to be understood."""
        return [
            dataclasses.replace(
                record,
                held_out=record.held_out if self.held_out is None else number in self.held_out,
                instruction=record.instruction or self.instruction,
            )
            for number, record in enumerate(records)
        ]
