"""Finds out from a run's record what goes wrong in it, while it trains and afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sinew.engine.evidence import Evidence
from sinew.engine.findings import Finding
from sinew.engine.signs import actions, gradients, losses, pace, tasks

SIGNS: dict[str, Callable[[Evidence], Iterator[Finding]]] = {
    "vanishing gradients": gradients.vanishing,
    "exploding gradients": gradients.exploding,
    "overfitting": losses.overfitting,
    "oscillation": losses.oscillation,
    "stagnation": losses.stagnation,
    "mode collapse": actions.mode_collapse,
    "action jitter": actions.action_jitter,
    "does not look": actions.blind,
    "does not listen": actions.deaf,
    "catastrophic forgetting": tasks.forgetting,
    "task imbalance": tasks.imbalance,
    "input-bound": pace.input_bound,
}
"""Every sign by name; each is silent where what it reads was not measured."""
LOOKS = 50
"""How often in a run the record is looked through."""


def diagnose(rows: Sequence[Mapping[str, Any]]) -> tuple[Finding, ...]:
    """Return what is wrong with a run according to its record.

    Args:
        rows: of metrics.jsonl, in order.
    """
    evidence = Evidence(rows)
    return tuple(finding for sign in SIGNS.values() for finding in sign(evidence))


class Diagnosis:
    """Follows a run and tells each fault once, when it first shows.

    The record is looked through some fifty times a run and after each evaluation, so that it costs next to nothing.

    Args:
        updates: length of the run.
        rows: what an earlier part of the run wrote; faults told there are not told again.
    """

    def __init__(self, updates: int, rows: Sequence[Mapping[str, Any]] = ()) -> None:
        self.every = max(1, updates // LOOKS)
        self.rows: list[Mapping[str, Any]] = list(rows)
        found = [row["finding"] for row in rows if isinstance(row.get("finding"), Mapping)]
        self._told = {(str(one.get("fault")), str(one.get("where"))) for one in found}
        self._looked = max((int(row["update"]) for row in rows), default=0)

    def take(self, row: Mapping[str, Any]) -> tuple[Finding, ...]:
        """Take a new row of the record; return what is found for the first time."""
        self.rows.append(row)
        update = int(row["update"])
        if "finding" in row:
            return ()
        if update - self._looked < self.every and "loss" in row:
            return ()
        self._looked = update
        new = tuple(finding for finding in diagnose(self.rows) if finding.key not in self._told)
        self._told.update(finding.key for finding in new)
        return new
