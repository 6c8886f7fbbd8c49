"""Measures that formats come and go whole: what libraries wrote, what libraries read of ours, and every round trip."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]
TESTS = ModuleType("data")  # tests/data, whose name benchmarks/data.py would take
TESTS.__path__ = [str(ROOT / "tests" / "data")]
sys.modules["data"] = TESTS

from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from rows import Row  # noqa: E402

from data.formats.drawn import data_sets  # noqa: E402
from data.formats.test_formats import CASES, round_trip  # noqa: E402

COMMAND = "python benchmarks/data.py --only formats"
DRAWN, QUICK_DRAWN = 150, 10
"""Data sets drawn for each writer and storage."""
GOLDEN = {
    "lerobot 0.4.4 (v3.0: image, h264, AV1)": ("test_lerobot.py", "what_lerobot_wrote"),
    "lerobot 0.3.3 (v2.1: image, AV1)": ("test_lerobot_v2.py", "what_lerobot_wrote"),
    "Minari 0.5.4 (one array, raw, JPEG)": ("test_minari.py", "one_array or parts_of_observations"),
    "TFDS 4.9.10 (TFRecord, array_record)": ("test_rlds.py", "wrote or jpeg_differs or in_parts"),
}
"""Tests of golden files: by who wrote these, the file of the tests and words in their names."""
JUDGES = {"lerobot": "LeRobot v3 by us, opened by lerobot 0.4.4", "minari": "Minari by us, opened by Minari 0.5.4"}


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (the scripts' signature)
    """Read golden files, let libraries judge, draw data sets."""
    for who, (file, words) in GOLDEN.items():
        yield golden(who, file, words)
    for name, what in JUDGES.items():
        yield Row(what, None, "of 1", "equal") if quick else judged(name, what)
    for name, storage in CASES:
        yield drawn(name, storage, QUICK_DRAWN if quick else DRAWN)


def golden(who: str, file: str, words: str) -> Row:
    """Return how many golden data sets are read as their library reads them."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", f"tests/data/formats/{file}", "-k", words]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|error)", out)}
    passed, total = counts.get("passed", 0), sum(counts.values())
    return Row(
        f"files written by {who}, read equal",
        passed,
        f"of {total}",
        "all equal",
        0 < passed == total,
        n=total,
        command=COMMAND,
    )


def judged(name: str, what: str) -> Row:
    """Return whether a library reads what we wrote; not run where its environment cannot be made."""
    env = {"PYTHON": sys.executable, **os.environ}
    done = subprocess.run(["tests/parity/run", name], cwd=ROOT, capture_output=True, text=True, check=False, env=env)
    missing = "NOT RUN" in done.stdout or done.returncode == 2
    value = None if missing else float(done.returncode == 0)
    return Row(what, value, "of 1", "equal", value == 1.0, command=f"tests/parity/run {name}")


def drawn(name: str, storage: str, count: int) -> Row:
    """Return how many drawn data sets came back from a writer; the first that does not ends it."""
    tried = 0

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data_sets(cameras=storage != "none"))
    def check(episodes: object) -> None:
        nonlocal tried
        round_trip(name, storage, episodes)
        tried += 1

    note = ""
    try:
        check()
    except AssertionError as error:
        note = str(error).splitlines()[0][:200] if str(error) else "differs"
    return Row(
        f"round trip of drawn data sets: {name}, {storage}",
        tried,
        "equal",
        f"{count} of {count}",
        not note and tried >= count,
        n=count,
        command=COMMAND,
        note=note,
    )
