"""Signs in the comparison of tasks: forgetting and imbalance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from sinew.engine.evidence import Evidence, Series
from sinew.engine.findings import Finding
from sinew.engine.signs.losses import ERRORS, standard_error

LOST = 0.15
"""Smallest fall of a task's score that counts, however many episodes were run."""
RARE = 0.5
"""Share of the samples, over an even share, of a rare task."""
WORSE = 1.5
"""Error of a rare task over that of the common ones."""


def forgetting(evidence: Evidence) -> Iterator[Finding]:
    """Yield the tasks whose score fell while the others' rose."""
    scores = {name: series for name, series in evidence.family("score").items() if len(series) > 1}
    trials = evidence["trials"]
    for name, series in scores.items():
        best = int(series.values[:-1].argmax())
        high, moment = float(series.values[best]), float(series.updates[best])
        chance = ERRORS * standard_error(high, series.last, trials.last / len(scores)) if len(trials) else LOST
        rise = _rise({other: one for other, one in scores.items() if other != name}, moment)
        if high - series.last > max(LOST, chance) and rise > 0:
            yield Finding(
                "catastrophic forgetting",
                name,
                evidence.update,
                f"score {high:.2f} at update {int(moment)}, now {series.last:.2f}; the others rose by {rise:.2f}",
                "what is learned now overwrites it: the task is not, or rarely, in the data of now",
                "Keep its data in the mixture (--data A --data B --weights 1 1), a lower --optim.lr.",
            )


def imbalance(evidence: Evidence) -> Iterator[Finding]:
    """Yield the rare tasks that the policy is bad at while it is good at the common ones."""
    shares = {name: float(series.values.mean()) for name, series in evidence.family("share").items()}
    total = sum(shares.values())
    if len(shares) < 2 or total <= 0:
        return
    even = total / len(shares)
    common = [name for name, share in shares.items() if share >= even]
    for name, share in shares.items():
        seen = _behind(evidence, name, common) if share <= RARE * even else ""
        if seen:
            yield Finding(
                "task imbalance",
                name,
                evidence.update,
                f"{100 * share / total:.1f} % of the samples, an even share is {100 / len(shares):.1f} %; {seen}",
                "good at what is common, bad at what is rare: the loss is an average over the samples",
                "Temperature sampling (--data.mix.temperature 2), --data.mix.task-power 0.5, or more recordings of it.",
            )


def _rise(others: Mapping[str, Series], moment: float) -> float:
    """Return how far the mean score of other tasks rose since a moment; 0 where there are none."""
    pairs = [(series.at(moment), series.last) for series in others.values()]
    known = [last - before for before, last in pairs if before is not None]
    return float(np.mean(known)) if known else 0.0


def _behind(evidence: Evidence, name: str, common: list[str]) -> str:
    """Return in words how a task is worse off than the common ones, "" where it is not."""
    errors = {task: series.last for task, series in evidence.family("task_error").items()}
    usual = [errors[task] for task in common if task in errors]
    if name in errors and usual and errors[name] > WORSE * float(np.mean(usual)):
        return f"its action error is {errors[name]:.3g}, that of the common tasks {np.mean(usual):.3g}"
    scores = {task: series.last for task, series in evidence.family("score").items()}
    known, trials = [scores[task] for task in common if task in scores], evidence["trials"]
    if name not in scores or not known:
        return ""
    mean = float(np.mean(known))
    chance = ERRORS * standard_error(mean, scores[name], trials.last / len(scores)) if len(trials) else LOST
    behind = mean - scores[name] > max(LOST, chance)
    return f"its score is {scores[name]:.2f}, that of the common tasks {mean:.2f}" if behind else ""
