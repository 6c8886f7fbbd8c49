"""The speed report of a configuration: how fast its updates are here, and where their time goes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sinew.core.config import to_dict
from sinew.core.machine import num_cores
from sinew.core.rundir import RunDir
from sinew.engine import rng
from sinew.engine.forecast import milliseconds
from sinew.engine.speed import Speed, measure
from sinew.engine.workers import start_workers
from sinew.run.dry import flight
from sinew.run.parts import run_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sinew.run import RunConfig
    from sinew.run.recordings import Recorded

INPUT_BOUND = 0.1
"""Share of the time from which on making batches is worth a word."""


def bench(config: RunConfig, *, root: Path, seconds: float, recorded: Sequence[Recorded] | None = None) -> Speed:
    """Run real updates of a configuration aside, and return what they took; nothing is trained or written.

    Args:
        config: of a run.
        root: directory that holds runs, whose demonstrations are used where they lie there; else some are recorded.
        seconds: of measured updates.
        recorded: the recordings, for a configuration that learns from some.

    Raises:
        ConfigError: the policy does not fit in memory.
    """
    torch.set_num_threads(num_cores())
    with tempfile.TemporaryDirectory(prefix="sinew-bench-") as scratch, start_workers(config.workers) as pool:
        place = Path(scratch)
        planned = flight(config, root, place / "data", "", recorded, pool)
        with rng.kept():
            recipe = planned.build(RunDir(place / run_path(config, root).name))
            return measure(recipe, seconds=seconds)


def rows(speed: Speed) -> Iterator[tuple[str, str]]:
    """Yield the report as name and words."""
    yield "samples", f"{speed.samples_per_s:,.0f} a second, {speed.rows} an update"
    if speed.tokens:
        yield "tokens", f"{speed.tokens_per_s:,.0f} a second, {speed.tokens / speed.rows:,.0f} a sample"
    yield "update", f"{milliseconds(speed.update_s)} on average of {speed.updates}"
    for name, share in speed.shares().items():
        yield f"of it {name}", f"{100 * share:.1f} %, {milliseconds(speed.seconds[name])}"
    yield "operations", f"{speed.flops / 1e9:.4g} GFLOP an update, {speed.flops / speed.update_s / 1e9:.3g} a second"
    where = f"{speed.device}, {speed.dtype}" + (f", {speed.threads} threads" if speed.device == "cpu" else "")
    yield "peak", f"{speed.peak_flops / 1e9:.4g} GFLOP a second in a matrix product ({where})"
    yield "MFU", f"{100 * speed.mfu:.1f} % of that peak"


def verdict(speed: Speed) -> str:
    """Return in a sentence what an update waits for most."""
    shares = speed.shares()
    if shares["data"] > INPUT_BOUND:
        return f"Input-bound: {100 * shares['data']:.0f} % of the time goes into making batches; see docs/data.md."
    largest = max(shares, key=lambda name: shares[name])
    return f"Compute-bound: batches take {100 * shares['data']:.1f} %, and {largest} takes most."


def as_json(speed: Speed) -> dict[str, Any]:
    """Return the report as JSON values."""
    derived = {name: getattr(speed, name) for name in ("update_s", "samples_per_s", "tokens_per_s", "mfu")}
    return {**to_dict(speed), **derived, "shares": speed.shares()}
