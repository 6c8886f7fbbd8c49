"""A picture of a run's record: losses, learning rate, gradient norm and scores in four panels."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sinew.core.files import write_bytes
from sinew.engine.evidence import Evidence
from sinew.engine.findings import told

if TYPE_CHECKING:
    from matplotlib.axes import Axes

APART = ("grad_rms", "share", "probe", "task_error", "success")
"""Families of columns that no panel shows: trackers and ``sinew diagnose`` do."""
OTHER = frozenset(
    [
        "update",
        "samples_per_s",
        "elapsed_s",
        "cpu_s",
        "skipped",
        "spikes",
        "stage",
        "data_share",
        "device_share",
        "trials",
        "kept",
        "clipped",
        "moved",
        "memory_gb",
        "gpu_load",
        "gpu_memory_gb",
    ]
)
"""Columns that no panel shows."""
SCORES = ("score", "return", "error", "exact", "held_out", "val")
MOST_LINES = 8
"""In a panel; the first ones are drawn."""


def draw_curves(rows: Sequence[Mapping[str, Any]], path: Path, *, title: str = "") -> None:
    """Draw losses, learning rate, gradient norm and scores over the updates into a PNG.

    Args:
        rows: of metrics.jsonl; findings among them are marked where they were first made, and stages where they begin.
        path: the picture.
        title: over the four panels.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    evidence = Evidence(rows)
    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)
    panels = panels_of(evidence)
    for axis, (name, columns) in zip(figure.subplots(2, 2).flatten(), panels.items(), strict=True):
        _draw(axis, evidence, name, columns)
    for update in begun(evidence):
        for axis in figure.axes:
            axis.axvline(update, color="0.75", linewidth=1)
    marks = [(finding.update, finding.title) for finding in told(list(rows))]  # type: ignore[arg-type]
    for number, (update, text) in enumerate(marks):
        for axis in figure.axes:
            axis.axvline(update, color="0.35", linestyle=":", linewidth=1)
        place = (update, 0.98 - 0.07 * (number % 8))
        figure.axes[0].annotate(text, place, xycoords=("data", "axes fraction"), fontsize=8, color="0.25", va="top")
    if title:
        figure.suptitle(title)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    write_bytes(path, content.getvalue())


def begun(evidence: Evidence) -> list[float]:
    """Return the updates at which a further stage had begun; none for a run without stages."""
    if "stage" not in evidence:
        return []
    stages = evidence["stage"]
    number = [math.ceil(value) for value in stages.values]  # a row in which a stage begins holds a mean of both
    changed = [place for place in range(1, len(stages)) if number[place] != number[place - 1]]
    return [float(stages.updates[place - 1]) for place in changed]


def panels_of(evidence: Evidence) -> dict[str, list[str]]:
    """Sort the columns that hold numbers into the four panels."""
    names = [name for name in evidence.names if name in evidence and name not in OTHER]
    names = [name for name in names if name.partition("/")[0] not in APART]
    rates = [name for name in names if name.partition("/")[0] == "lr"]
    norms = [name for name in names if "grad_norm" in name]
    scores = [name for name in names if name.partition("/")[0] in SCORES]
    losses = [name for name in names if name not in {*rates, *norms, *scores}]
    return {"loss": losses, "score and held-out": scores, "learning rate": rates, "gradient norm": norms}


def _draw(axis: Axes, evidence: Evidence, title: str, names: Sequence[str]) -> None:
    axis.set_title(title)
    axis.set_xlabel("update")
    axis.grid(alpha=0.3)
    shown = names[:MOST_LINES]
    for name in shown:
        series = evidence[name]
        marker = "o" if len(series) < 10 else None
        axis.plot(series.updates, series.values, label=name, marker=marker, linewidth=2 if name == shown[0] else 1.2)
    positive = all((evidence[name].values > 0).all() for name in shown)
    if shown and positive and title in ("loss", "gradient norm"):
        axis.set_yscale("log")
    if not shown:
        axis.text(0.5, 0.5, "not measured", transform=axis.transAxes, ha="center", va="center", color="0.5")
    if len(shown) > 1 or (shown and title == "score and held-out"):
        axis.legend(fontsize=8)
