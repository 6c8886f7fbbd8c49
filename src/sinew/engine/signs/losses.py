"""Signs in the course of the loss: overfitting, oscillation, stagnation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sinew.engine.evidence import Evidence, Series
from sinew.engine.findings import Finding

RISE = 1.1
"""Factor on the best held-out value that is a rise."""
GAP = 2.0
"""Held-out over training value that is a gap."""
ROWS = 10
"""Rows that a course needs before it is judged."""
SWING = 0.1
"""Change from row to row, as a share of the loss, that is a swing; healthy runs have 0.01 to 0.05."""
SPAN = 10
"""Updates that a row must be the mean of: shorter ones jump by the luck of their batches."""
TURNS = 0.4
"""Share of rows at which the loss turns round; a falling one with little noise has few."""
FLAT = 0.02
"""Fall over the window, as a share of the loss, below which it stands still."""
WINDOW = 0.4
"""Newest share of the rows that is judged for stagnation."""
RISEN = 0.05
"""Rise of a score without a number of trials, as a share of itself, that is no accident."""
ERRORS = 2.5
"""Standard errors that a score must fall by to count as lower."""
PAIRS = (("error/training", "error/held_out"), ("loss", "val/loss"))
"""The same quantity on what is learned from and on what is held out."""


def overfitting(evidence: Evidence) -> Iterator[Finding]:
    """Yield one finding when what is held out gets worse, or is far worse, than what is learned from."""
    seen = _gap(evidence) or _fallen(evidence)
    if seen:
        yield Finding(
            "overfitting",
            "",
            evidence.update,
            seen,
            "more weights and updates than the recordings can feed: it learns them by heart",
            "More recordings, augmentation (--recipe.augment.*), fewer --loop.updates, or weights to begin with "
            "(--init); checkpoints/best is the one to use.",
        )


def oscillation(evidence: Evidence) -> Iterator[Finding]:
    """Yield one finding when the loss jumps up and down by a good part of itself from row to row.

    A recipe that learns from rewards is left out: its return jumps by the luck of the episodes.
    """
    loss = evidence["loss"]
    recent = loss.tail(2 * ROWS)
    if len(recent) < 2 * ROWS or "return" in evidence or float(np.median(np.diff(recent.updates))) < SPAN:
        return
    steps = np.diff(recent.values)
    size = recent.median if (recent.values > 0).all() else level(loss, recent)
    swing = float(np.median(np.abs(steps))) / size
    turns = float((steps[1:] * steps[:-1] < 0).mean())
    if swing >= SWING and turns >= TURNS and not solved(loss, recent):
        yield Finding(
            "oscillation",
            "",
            evidence.update,
            f"the loss changes by {100 * swing:.0f} % from row to row and turns at {100 * turns:.0f} % of them "
            f"(last {len(recent)} rows)",
            "steps too large for the curvature, or batches too small to agree",
            "A lower --optim.lr, a longer --optim.warmup, a larger --recipe.batch.",
        )


def stagnation(evidence: Evidence) -> Iterator[Finding]:
    """Yield one finding when the loss surely gets hardly better although the learning rate is still high.

    Of a recipe that learns from rewards the return is judged, over twice as many rows.
    """
    name, loss, least = "loss", evidence["loss"], ROWS
    if "return" in evidence:
        name, loss, least = "return", evidence["return"].negative, 2 * ROWS
    window = loss.tail(max(least, round(WINDOW * len(loss))))
    if len(window) < least or not _still_learning(evidence, window) or _better(evidence, window):
        return
    gain, error = _gain(window)
    size = level(loss, window)
    if gain + 2 * error < FLAT * size and not solved(loss, window):
        first, last = int(window.updates[0]), int(window.updates[-1])
        yield Finding(
            "stagnation",
            "",
            evidence.update,
            f"the {name} stands at {abs(window.median):.4g}: from update {first} to {last} it got better by "
            f"{100 * gain / size:.1f} % (+- {200 * error / size:.1f})",
            "converged, or stuck: a learning rate too low or too high, inputs that do not tell, a network too small",
            "If the score is good, stop earlier; else try a third and three times the --optim.lr, look at what the "
            "policy sees (sinew data view), a larger --size.",
        )


def level(loss: Series, window: Series) -> float:
    """Return what changes are compared with: the loss itself, or how far it came where that is more."""
    came = abs(float(loss.values[0]) - float(loss.values.min()))
    return max(float(np.median(np.abs(window.values))), came, 1e-12)


def solved(loss: Series, window: Series) -> bool:
    """Whether a loss is a tenth of what it was at first, so that what it does there matters little."""
    return abs(window.median) < 0.1 * abs(float(loss.values[0]))


def _gap(evidence: Evidence) -> str:
    """Return in words how training and held-out values part, "" where they do not."""
    for training, held_out in PAIRS:
        ours, theirs = evidence[training], evidence[held_out]
        if len(ours) and len(theirs):
            seen = _risen(ours, theirs) or _apart(ours, theirs, sampled=training.startswith("error"))
            if seen:
                return f"{held_out} {seen}".replace("TRAINING", training)
    return ""


def _risen(ours: Series, theirs: Series) -> str:
    if len(theirs) < 3:
        return ""
    best = int(theirs.values[:-1].argmin())
    lowest, moment = float(theirs.values[best]), float(theirs.updates[best])
    before, now = ours.at(moment), ours.at(float(theirs.updates[-1]))
    if before is None or now is None or now >= before or theirs.last <= RISE * lowest:
        return ""
    return (
        f"rose from {lowest:.3g} (update {int(moment)}) to {theirs.last:.3g} while TRAINING fell from {before:.3g} "
        f"to {now:.3g}"
    )


def _apart(ours: Series, theirs: Series, *, sampled: bool) -> str:
    """Losses of training and of validation may differ by augmentation and dropout; only sampled actions compare."""
    now = ours.at(float(theirs.updates[-1]))
    if not sampled or now is None or theirs.last <= GAP * now:
        return ""
    return f"is {theirs.last:.3g}, {theirs.last / max(now, 1e-12):.1f} times TRAINING ({now:.3g})"


def _fallen(evidence: Evidence) -> str:
    """Return in words how the score fell while the loss did, "" where it did not."""
    score, loss, trials = evidence["score"], evidence["loss"], evidence["trials"]
    if len(score) < 2 or not len(trials) or not len(loss):
        return ""
    best = int(score.values[:-1].argmax())
    high, moment = float(score.values[best]), float(score.updates[best])
    before, now = loss.at(moment), loss.last
    fell = high - score.last > ERRORS * standard_error(high, score.last, trials.last)
    if not fell or before is None or now >= before:
        return ""
    return (
        f"the score fell from {100 * high:.0f} % (update {int(moment)}) to {100 * score.last:.0f} % of "
        f"{trials.last:.0f} episodes while the loss fell from {before:.3g} to {now:.3g}"
    )


def standard_error(one: float, two: float, trials: float) -> float:
    """Return the standard error of the difference of two success rates of ``trials`` episodes each."""
    pooled = min(max((one + two) / 2, 1 / (2 * trials)), 1 - 1 / (2 * trials))
    return float(np.sqrt(2 * pooled * (1 - pooled) / trials))


def _gain(window: Series) -> tuple[float, float]:
    """Return how far a straight line through the window falls over it, and the standard error of that."""
    place = window.updates - window.updates.mean()
    spread = float((place**2).sum())
    slope = float((place * (window.values - window.values.mean())).sum()) / spread
    rest = window.values - window.values.mean() - slope * place
    error = float(np.sqrt((rest**2).sum() / max(1, len(rest) - 2) / spread))
    span = float(window.updates[-1] - window.updates[0])
    return -slope * span, error * span


def _still_learning(evidence: Evidence, window: Series) -> bool:
    """Whether the learning rate over the window is on average more than a fifth of its peak."""
    rates = evidence["lr"]
    if not len(rates):
        return True
    there = rates.values[rates.updates >= window.updates[0]]
    return bool(len(there)) and float(there.mean()) > 0.2 * float(rates.values.max())


def _better(evidence: Evidence, window: Series) -> bool:
    """Whether the score surely rose since the window began: something is learned that the loss does not show."""
    score, trials = evidence["score"], evidence["trials"]
    if not len(score):
        return False
    earlier = score.at(float(window.updates[0]))
    if earlier is None:
        earlier = float(score.values[0])
    chance = ERRORS * standard_error(earlier, score.last, trials.last) if len(trials) else RISEN * abs(earlier)
    return score.last - earlier > chance
