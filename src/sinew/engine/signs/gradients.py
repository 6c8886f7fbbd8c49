"""Signs in the gradients: too small to move a part, or out of hand."""

from __future__ import annotations

from collections.abc import Iterator

from sinew.engine.evidence import Evidence, Series
from sinew.engine.findings import Finding

ROWS = 3
"""Newest rows whose median is judged: one odd window proves nothing."""
EPSILON = 1e-8
"""AdamW's. A weight whose gradient is smaller gets steps smaller than the learning rate asks for."""
FAINT = 1e-4
"""A part with less than this share of the strongest part's gradient per weight learns next to nothing of the loss."""
NOTHING = 1e-6
"""Gradient norm of the whole that is called vanishing."""
SOLVED = 0.01
"""Share of its first value below which a loss may have small gradients by right."""
LARGE = 10.0
"""Gradient norm that is called large, and the factor on the usual one that is called a jump."""
SKIPPED = 0.05
"""Share of skipped updates that is more than an accident, where it is more than one or two."""


def vanishing(evidence: Evidence) -> Iterator[Finding]:
    """Yield the parts that hardly any gradient reaches."""
    parts = {name: series.tail(ROWS) for name, series in evidence.family("grad_rms").items() if len(series) >= ROWS}
    if not parts:
        yield from _vanished(evidence)
        return
    strongest = max(series.median for series in parts.values())
    for name, series in parts.items():
        rms = series.median
        faint, still = rms < FAINT * strongest, rms < EPSILON and not _solved(evidence)
        if faint or still:
            compared = f"the strongest part has {strongest:.2g}" if faint else f"AdamW needs more than {EPSILON:g}"
            cause, remedy = _unconnected(name) if rms == 0 else _deep(name)
            yield Finding(
                "vanishing gradients",
                name,
                evidence.update,
                f"{rms:.2g} per weight, {compared} (median of the last {len(series)} rows)",
                cause,
                remedy,
            )


def exploding(evidence: Evidence) -> Iterator[Finding]:
    """Yield one finding when the gradient norm has left its usual range or updates are skipped in numbers."""
    remedy = (
        "Gradient clipping (--optim.clip 1), a lower --optim.lr, a longer --optim.warmup; look for extreme values "
        "in the data (sinew data validate)."
    )
    share = _skipped(evidence)
    if share >= SKIPPED:
        seen = f"{100 * share:.0f} % of the last updates were skipped: loss or gradient was not finite"
        yield Finding("exploding gradients", "", evidence.update, seen, "gradients overflow or data holds NaN", remedy)
        return
    norm = evidence["grad_norm"]
    if len(norm) < 2 * ROWS:
        return
    recent, usual = norm.tail(ROWS).median, norm.before(ROWS).median
    jumped = recent > LARGE * usual
    lost = recent > LARGE**2 and _rose(evidence["loss"])
    if recent > LARGE and (jumped or lost):
        where = _grown(evidence)
        yield Finding(
            "exploding gradients",
            where,
            evidence.update,
            f"gradient norm {recent:.3g}, before it was {usual:.3g} (medians)",
            "the learning rate is too high for this part, or its inputs left their usual range",
            remedy,
        )


def _vanished(evidence: Evidence) -> Iterator[Finding]:
    """Judge the whole where no parts were measured; where the loss itself is 0 there was nothing to learn from."""
    norm, loss = evidence["grad_norm"].tail(ROWS), evidence["loss"].tail(ROWS)
    if len(loss) and not loss.median:
        return
    if len(norm) >= ROWS and norm.median < NOTHING and not _solved(evidence):
        seen = f"gradient norm {norm.median:.2g} (median of the last {len(norm)} rows)"
        yield Finding("vanishing gradients", "", evidence.update, seen, *_deep("the network"))


def _unconnected(name: str) -> tuple[str, str]:
    return (
        f"no loss depends on {name}, or its units are all off (dead ReLUs)",
        "Connect it or freeze it; with dead units lower --optim.lr and start again.",
    )


def _deep(name: str) -> tuple[str, str]:
    return (
        f"many saturating or unnormalised layers between {name} and the loss",
        "Residual connections or normalisation in between, a smaller initial scale behind it, a loss of its own "
        "(such as --policy.grounding.weight).",
    )


def _solved(evidence: Evidence) -> bool:
    loss = evidence["loss"]
    return len(loss) > 1 and abs(loss.last) < SOLVED * abs(float(loss.values[0]))


def _skipped(evidence: Evidence) -> float:
    """Return the share of skipped updates over the last rows."""
    counts = evidence["skipped"].tail(2 * ROWS)
    if len(counts) < 2 or counts.last - counts.values[0] < ROWS:
        return 0.0
    return float((counts.last - counts.values[0]) / max(1.0, counts.updates[-1] - counts.updates[0]))


def _rose(loss: Series) -> bool:
    return len(loss) > ROWS and loss.tail(ROWS).median >= float(loss.values[0])


def _grown(evidence: Evidence) -> str:
    """Return the part whose gradient grew most, "" where parts were not measured."""
    growth = {
        name: series.tail(ROWS).median / max(series.before(ROWS).median, 1e-30)
        for name, series in evidence.family("grad_rms").items()
        if len(series) > ROWS
    }
    return max(growth, key=lambda name: growth[name]) if growth else ""
