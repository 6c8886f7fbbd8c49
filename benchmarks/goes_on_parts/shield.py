"""Measures the shield: what an adversary can make it break, what clipping breaks, and what a call costs."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator

import numpy as np
from rows import ROOT, Row

from sinew.core.types import ActionKind
from sinew.safety.shield import Shield

sys.path.insert(0, str(ROOT / "tests"))
from safety.arm import LIMITS, Adversary, Judge, NaiveClip, arm_spec, torment

COMMAND = "python benchmarks/goes_on.py --only shield"
KINDS: tuple[ActionKind, ...] = ("absolute", "delta", "relative")
ROWS = 250
BOUND_US = 100.0


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (the signature that all parts share)
    """Yield one row a bar and kind of action."""
    steps = 50_000 if quick else 1_000_000
    for kind in KINDS:
        yield torment_row(kind, steps)
    yield naive_row(steps)
    for kind in KINDS:
        yield cost_row(kind, 3_000 if quick else 20_000)


def torment_row(kind: ActionKind, steps: int) -> Row:
    """Return how often a limit was broken; relative actions are measured with 1 mrad of noise on the state."""
    spec = arm_spec(kind)
    judge = torment(
        spec, Shield(LIMITS, spec).filter, rows=ROWS, ticks=steps // ROWS, noise=1e-3 if kind == "relative" else 0.0
    )
    worst = ", ".join(f"{name} {excess:.1e}" for name, excess in judge.excess.items())
    return Row(
        f"shield, {kind} actions: violations in {steps:,} adversarial steps of 7 axes",
        judge.violations,
        "",
        bar="0 beyond 1e-9 of velocity, acceleration, bounds",
        ok=judge.violations == 0,
        n=steps,
        command=COMMAND,
        note=f"largest excess: {worst}; {ROWS} rows at once, commands as the float32 that are sent",
    )


def naive_row(steps: int) -> Row:
    """Return the same for clipping velocity, acceleration and bounds one after another."""
    spec = arm_spec("absolute")
    judge = torment(spec, NaiveClip(spec, ROWS), rows=ROWS, ticks=steps // ROWS)
    return Row(
        f"naive clip: violations in {steps:,} steps of the same test",
        judge.violations,
        "",
        bar="fails the test",
        ok=judge.violations > 0,
        n=steps,
        command=COMMAND,
        note=", ".join(f"{name} {excess:.1e}" for name, excess in judge.excess.items()),
    )


def cost_row(kind: ActionKind, calls: int) -> Row:
    """Return the median time of a call for one robot, under the adversary."""
    spec = arm_spec(kind)
    shield, judge, adversary = Shield(LIMITS, spec), Judge(spec, 1), Adversary(spec, 1, 0)
    took: list[float] = []
    for _ in range(calls):
        state = judge.state()
        actions = adversary.actions(judge, state)
        start = time.perf_counter()
        sent = shield.filter(actions, state)
        took.append(1e6 * (time.perf_counter() - start))
        judge.take(sent, state)
    median, p99 = statistics.median(took), float(np.percentile(took, 99))
    return Row(
        f"shield, {kind} actions: median time of a call, 7 axes",
        round(median, 1),
        "us",
        bar=f"<= {BOUND_US:g} us",
        ok=median <= BOUND_US,
        n=calls,
        command=COMMAND,
        note=f"99th percentile {p99:.0f} us, fastest {min(took):.0f} us",
    )
