"""The checklist of a run card: what is to be seen to before, during and after a training, ticked by the run itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sinew.engine.forecast import Forecast, size

BEFORE = (
    "Dataset validated",
    "Architecture configured",
    "Hyperparameters logged",
    "Checkpoint directory has space",
    "README with risk warnings",
)
DURING = ("Loss decreasing", "No NaN values", "GPU more than 80 % utilised", "Checkpoints saving")
AFTER = ("Best checkpoint identified", "Metrics documented", "Risks encountered logged")
BUSY = 0.8
SHARE = 10
"""The first and the last of that many parts of a run are compared."""

Ticks = Mapping[str, tuple[bool, str]]
"""Whether each item holds, and the evidence."""


def blank() -> str:
    """Return the checklist with nothing ticked."""
    groups = {"Before": BEFORE, "During": DURING, "After": AFTER}
    return "\n".join(f"{title}:\n\n" + "".join(f"- [ ] {item}\n" for item in items) for title, items in groups.items())


def tick(card: str, ticks: Ticks) -> str:
    """Return a card with these items ticked, or not, each with its evidence; told again, an item is told anew."""
    for item, (done, said) in ticks.items():
        line = f"- [{'x' if done else ' '}] {item}: {said}".replace("\n", " ")
        card = re.sub(rf"^- \[.\] {re.escape(item)}(:.*)?$", lambda _, line=line: line, card, flags=re.MULTILINE)
    return card


def before(forecast: Forecast, *, num_settings: int, num_risks: int) -> Ticks:
    """Return what is known before the first update."""
    trainable = sum(part[1] for part in forecast.parts if "." not in part[0])
    disk = forecast.disk
    said = "; ".join(text.rstrip(".") for text in forecast.checked)
    return {
        "Dataset validated": (bool(forecast.checked), said or "nothing was looked at"),
        "Architecture configured": (True, f"{trainable:,} parameters are trained, see Parameters"),
        "Hyperparameters logged": (True, f"{num_settings} settings in config.json, see Configuration"),
        "Checkpoint directory has space": (disk.fits, f"{size(disk.total)} wanted at most, {size(disk.free)} free"),
        "README with risk warnings": (True, f"this page; {num_risks or 'no'} risks found"),
    }


def during(rows: Sequence[Mapping[str, Any]], checkpoints: Path) -> Ticks:
    """Return what the rows of metrics.jsonl and the directory of checkpoints say."""
    losses = [float(row["loss"]) for row in rows if row.get("loss") is not None]
    skipped = max((int(row.get("skipped") or 0) for row in rows), default=0)
    saved = sorted(int(path.name) for path in checkpoints.glob("*") if path.name.isdigit())
    kept = ", ".join(map(str, saved)) or "none yet"
    return {
        "Loss decreasing": _loss(rows),
        "No NaN values": (not skipped and bool(rows), f"{skipped} updates skipped in {len(losses)} logged stretches"),
        "GPU more than 80 % utilised": _utilised(rows),
        "Checkpoints saving": (bool(saved), f"after update {kept}"),
    }


def after(*, best: str, num_results: int, incidents: Sequence[object]) -> Ticks:
    """Return what is known at the end."""
    return {
        "Best checkpoint identified": (True, best),
        "Metrics documented": (num_results > 0, f"{num_results} results below, every row in metrics.jsonl"),
        "Risks encountered logged": (True, f"{len(incidents) or 'no'} incidents, see Incidents"),
    }


def _loss(rows: Sequence[Mapping[str, Any]]) -> tuple[bool, str]:
    """Compare losses of the last stage, where there are several: each has a loss of its own."""
    stage = rows[-1].get("stage") if rows else None
    losses = [float(row["loss"]) for row in rows if row.get("loss") is not None and row.get("stage") == stage]
    where = "" if stage is None else " of the last stage"
    if len(losses) < 2:
        return False, f"too few rows{where} to tell"
    part = max(1, len(losses) // SHARE)
    first, last = sum(losses[:part]) / part, sum(losses[-part:]) / part
    return last < first, f"{first:.3g} in the first tenth{where}, {last:.3g} in the last"


def _utilised(rows: Sequence[Mapping[str, Any]]) -> tuple[bool, str]:
    loads = list(_numbers(rows, "gpu_load"))
    if not loads:
        return False, "not measured; there was no GPU, or none that tells its load"
    mean = sum(loads) / len(loads)
    return mean > BUSY, f"{100 * mean:.0f} % on average"


def _numbers(rows: Sequence[Mapping[str, Any]], name: str) -> Iterator[float]:
    for row in rows:
        if isinstance(row.get(name), int | float):
            yield float(row[name])
