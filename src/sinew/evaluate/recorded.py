"""Writes the report of a run that learned from recordings: one page that holds everything it shows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sinew.core.files import write_text
from sinew.evaluate.chart import Curve, Line, line, number
from sinew.evaluate.offline import OfflineError, Replay
from sinew.evaluate.page import environment

WIDTH, HEIGHT = 640.0, 96.0
"""Of a replay's drawing area, in its own units."""


@dataclass(frozen=True)
class RecordedContent:
    """What the page says.

    Attributes:
        name: of the run. command: what to type to get the same run.
        held_out: errors on episodes that training never saw. training: on those it learned from.
        replays: held-out episodes, the best first.
        moments: (share of the training, error, accuracy) as measured on the way, on held-out episodes.
        chosen: share of the training at which the checkpoint was taken.
        taken: what was taken from another run's weights, a line each; empty where nothing was.
        curves: quantities of metrics.jsonl.
        facts: values by name, by group.
        config: the full configuration, as plain values.
        next: commands to type now, each with what it does.
        answers: by split, a table of what a model could answer before it got a body and after, its heads first.
        date: of the run.
    """

    name: str
    command: str
    held_out: OfflineError
    training: OfflineError
    replays: tuple[Replay, ...] = ()
    moments: tuple[tuple[float, float, float], ...] = ()
    chosen: float = 1.0
    taken: tuple[str, ...] = ()
    curves: tuple[Curve, ...] = ()
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    next: tuple[tuple[str, str], ...] = ()
    answers: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = ()
    date: str = ""


@dataclass(frozen=True)
class Trace:
    """One action over an episode, as it is drawn in ``WIDTH`` x ``HEIGHT``.

    Attributes:
        name: of the action. unit: its unit. recorded: SVG path. predicted: SVG path.
        top: label of the upper edge. bottom: of the lower edge. error: mean absolute error, as text.
    """

    name: str
    unit: str
    recorded: str
    predicted: str
    top: str
    bottom: str
    error: str


def write_recorded(path: Path, content: RecordedContent) -> Path:
    """Write ``report.html`` into a run directory and return its path."""
    target = path / "report.html"
    write_text(target, render(content))
    return target


def render(content: RecordedContent) -> str:
    """Return the page."""
    return (
        environment()
        .get_template("recorded.html.j2")
        .render(
            content=content,
            rows=_rows(content),
            replays=[(item, traces(item, scales(content.replays))) for item in content.replays],
            learning=_learning(content),
            lines=_lines(content.curves),
            config=json.dumps(content.config, indent=2, ensure_ascii=False) if content.config else "",
        )
    )


def scales(replays: Sequence[Replay]) -> tuple[tuple[float, float], ...]:
    """Return lowest and highest value of each action over all episodes, recorded or predicted; of the same robot."""
    rows = [row for replay in replays for row in (*replay.recorded, *replay.predicted)]
    return tuple((min(values), max(values)) for values in zip(*rows, strict=True))


def traces(replay: Replay, limits: Sequence[tuple[float, float]]) -> tuple[Trace, ...]:
    """Return the drawings of an episode, one for each action, from the lower to the upper limit of that action."""
    every: list[Trace] = []
    for place, (name, unit) in enumerate(zip(replay.action, replay.units, strict=True)):
        recorded = [row[place] for row in replay.recorded]
        predicted = [row[place] for row in replay.predicted]
        low, high = limits[place]
        error = sum(abs(one - two) for one, two in zip(recorded, predicted, strict=True)) / len(recorded)
        paths = [_path(values, low, high) for values in (recorded, predicted)]
        every.append(
            Trace(name, unit, *paths, top=number(high, digits=2), bottom=number(low, digits=2), error=number(error))
        )
    return tuple(every)


def _path(values: Sequence[float], low: float, high: float) -> str:
    """Return an SVG path through values, in steps: an action holds until the next one."""
    step, span = WIDTH / len(values), (high - low) or 1.0
    downs = [HEIGHT - (value - low) / span * HEIGHT for value in values]
    corners = [f"{place * step:.1f} {down:.1f}H{(place + 1) * step:.1f}" for place, down in enumerate(downs)]
    return "M" + "L".join(corners)


def _rows(content: RecordedContent) -> list[dict[str, str]]:
    """Return the table of errors by action, all as text."""
    held_out, training = content.held_out, content.training
    rows: list[dict[str, str]] = []
    for place, (name, unit) in enumerate(zip(held_out.action, held_out.units, strict=True)):
        other = "" if held_out.shuffled is None else number(held_out.shuffled[place])
        rows.append(
            {
                "name": name,
                "unit": unit,
                "held_out": number(held_out.error[place]),
                "training": number(training.error[place]),
                "other": other,
                "share": f"{100 * held_out.error[place] / held_out.ranges[place]:.1f}",
                "tolerance": number(held_out.tolerance[place]),
            }
        )
    return rows


def _learning(content: RecordedContent) -> tuple[Line, ...]:
    """Return error and accuracy on held-out episodes over training."""
    if len(content.moments) < 2:
        return ()
    shares, errors, rights = zip(*content.moments, strict=True)
    x = tuple(100 * share for share in shares)
    return (
        line(Curve("action error [% of range]", x, tuple(100 * value for value in errors), lower_is_better=True)),
        line(Curve("steps right [%]", x, tuple(100 * value for value in rights), lower_is_better=False)),
    )


def _lines(curves: Sequence[Curve]) -> tuple[Line, ...]:
    return tuple(line(curve) for curve in curves if len(curve.finite) > 1)
