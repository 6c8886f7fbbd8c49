"""Measures every combination of vision, projector, fusion and head: build, learn, act, save, load, run on meta."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rows import ROOT, Row

sys.path.append(str(ROOT / "tests"))

import matrix
from matrix import UNFIT, Combination
from sinew.core.errors import ConfigError

COMMAND = "python benchmarks/models.py --only matrix"
PLAIN = {part: names[0] for part, names in matrix.PARTS.items()}


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (the signature that all parts share)
    """Yield one row of the combinations that fit, and one of the pairs that do not."""
    combinations = matrix.pairwise() if quick else list(matrix.everything())
    start = time.process_time()
    wrong = [found for combination in combinations if (found := fault(combination))]
    whole = len(combinations) - len(wrong)
    names = ", ".join(f"{len(matrix.PARTS[part])} {part}" for part in ("vision", "projector", "fusion", "head"))
    yield Row(
        "combinations of vision, projector, fusion and head that learn, act, are kept and run on meta",
        whole,
        f"of {len(combinations)}",
        bar="all that fit",
        ok=not wrong,
        n=len(combinations),
        command=COMMAND,
        note="; ".join([f"{names}, languages in turn; {time.process_time() - start:.0f} CPU-seconds", *wrong[:5]]),
    )
    refused = [refusal(dict(pair)) for pair in UNFIT]
    yield Row("pairs that do not fit, refused with the reason", sum(refused), f"of {len(refused)}", bar="all",
              ok=all(refused), n=len(refused), command=COMMAND)  # fmt: skip


def fault(combination: Combination) -> str:
    """Return what is wrong with a combination; nothing where it does all it should."""
    name = "-".join(combination.values())
    try:
        with tempfile.TemporaryDirectory() as place:
            matrix.check(matrix.policy_of(combination), Path(place))
    except (AssertionError, ConfigError, RuntimeError, ValueError) as error:
        return f"{name}: {type(error).__name__} {str(error)[:120]}"
    return ""


def refusal(pair: Combination) -> bool:
    """Return whether a pair is refused with its reason."""
    try:
        matrix.policy_of({**PLAIN, **pair})
    except ConfigError as error:
        return UNFIT[frozenset(pair.items())] in str(error)
    return False
