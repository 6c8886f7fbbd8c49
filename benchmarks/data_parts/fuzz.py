"""Measures what damaged files do to every parser of our own: what is raised, how long it takes, how much memory.

python benchmarks/data_parts/fuzz.py MINUTES [NAME ...]      that many CPU-minutes over all parsers, or those named
"""

from __future__ import annotations

import resource
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]
TESTS = ModuleType("data")  # tests/data, whose name benchmarks/data.py would take
TESTS.__path__ = [str(ROOT / "tests" / "data")]
sys.modules["data"] = TESTS

from rows import Row  # noqa: E402

from data.formats.fuzzing import HANG_S, TARGETS, Outcome, attack, for_seconds  # noqa: E402

COMMAND = "python benchmarks/data.py --only fuzz"
MINUTES = 10.0
"""CPU-minutes that the bar asks for."""
QUICK_MINUTES = 0.5
SPARE_MB = 1024
"""Memory that a parser may take beside what the process has; more is refused to it, and counts as a failure."""
GROWTH_MB = 256
SEED = 20261121


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (the scripts' signature)
    """Attack every parser for its share of the time."""
    minutes = QUICK_MINUTES if quick else MINUTES
    yield from rows_of(dict(attacks(list(TARGETS), minutes)), minutes)


def attacks(names: Sequence[str], minutes: float) -> Iterator[tuple[str, Outcome]]:
    """Yield what came of each parser, each attacked in a process of its own."""
    for name in names:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            try:
                yield name, pool.submit(one, name, 60 * minutes / len(names)).result()
            except BrokenProcessPool:
                yield name, Outcome(failures=[f"{name}: the process died"])


def one(name: str, seconds: float) -> Outcome:
    """Attack one parser in this process, its memory limited."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + SPARE_MB * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with tempfile.TemporaryDirectory() as folder:
        return attack(TARGETS[name], Path(folder), for_seconds(seconds), seed=SEED)


def rows_of(outcomes: Mapping[str, Outcome], minutes: float) -> Iterator[Row]:
    """Yield one row a bar."""
    total = sum(outcome.rounds for outcome in outcomes.values())
    failures = [failure for outcome in outcomes.values() for failure in outcome.failures]
    each = ", ".join(f"{name} {outcome.rounds}" for name, outcome in outcomes.items())
    refused = sum(outcome.refused for outcome in outcomes.values())
    yield Row(
        "mutated files that our own parsers neither read nor refuse",
        len(failures),
        "files",
        bar=f"0 in {MINUTES:g} CPU-minutes",
        ok=not failures if minutes >= MINUTES or failures else None,
        n=total,
        seeds=str(SEED),
        command=COMMAND,
        note="; ".join([f"{minutes:g} CPU-minutes; {refused} refused; {each}", *failures])[:2000],
    )
    slowest = max(outcomes, key=lambda name: outcomes[name].slowest_s)
    yield Row(
        "slowest mutated file",
        round(outcomes[slowest].slowest_s, 3),
        "CPU s",
        bar=f"no hang: <= {HANG_S} s",
        ok=outcomes[slowest].slowest_s <= HANG_S,
        n=total,
        command=COMMAND,
        note=slowest,
    )
    widest = max(outcomes, key=lambda name: outcomes[name].growth_mb)
    yield Row(
        "memory that mutated files add to the process's peak",
        round(outcomes[widest].growth_mb, 1),
        "MB",
        bar=f"<= {GROWTH_MB} MB",
        ok=outcomes[widest].growth_mb <= GROWTH_MB,
        n=total,
        command=COMMAND,
        note=f"{widest}; {SPARE_MB} MB is all that a parser could have had",
    )


def main() -> None:
    """Attack and print what came of it."""
    minutes, names = float(sys.argv[1]), sys.argv[2:] or list(TARGETS)
    found: dict[str, Outcome] = {}
    for name, outcome in attacks(names, minutes):
        found[name] = outcome
        print(f"{name}: {outcome.rounds} files, {outcome.refused} refused", *outcome.failures, sep="\n  ", flush=True)
    for row in rows_of(found, minutes):
        print(f"| {row.what} | {row.value} {row.unit} | {row.bar} | {row.ok} | {row.n} |")


if __name__ == "__main__":
    main()
