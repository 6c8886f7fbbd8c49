"""Kills whole runs with SIGKILL at random moments, repeats the command, and compares what comes out bit for bit."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

FLAGS = (  # noqa: SIM905  (reads as one types it)
    "--size tiny --loop.updates 60 --loop.save-every 15 --collect.episodes 80 --collect.group 10 --collect.stills 900 "
    "--recipe.episodes 16 --recipe.rounds 0.4 --evaluate.episodes 6 --evaluate.extra 3 --evaluate.quick 2 "
    "--evaluate.videos 1"
).split()
ORDER = ("start", "collect", "train", "evaluate", "report", "done")
PHASES = ("collect", "train", "train", "evaluate")
"""Where a run's kills fall: this share of them in each, in this order."""


def main() -> None:
    """Print counts as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--per-run", type=int, default=20)
    options = parser.parse_args()
    draw = random.Random(0)
    phases: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        train(root / "whole").wait()
        wanted = outcome(root / "whole")
        runs = -(-options.kills // options.per_run)
        same = 0
        for number in range(runs):
            out = root / f"killed-{number}"
            for turn in range(options.per_run):
                kill_in(PHASES[turn * len(PHASES) // options.per_run], out, draw, phases)
            if train(out).wait() != 0:
                print(f"run {number} did not finish after its kills", file=sys.stderr)
            else:
                same += outcome(out) == wanted
    print(json.dumps({"runs": runs, "identical": same, "kills": sum(phases.values()), "phases": dict(phases)}))


def kill_in(wanted: str, out: Path, draw: random.Random, phases: Counter[str]) -> None:
    """Start or go on, and kill at a random moment once the phase has begun; a run that ends earlier is left alone."""
    process = train(out)
    while ORDER.index(phase(out)) < ORDER.index(wanted) and process.poll() is None:
        time.sleep(0.02)
    try:
        process.wait(timeout=draw.uniform(0.1, 4.5))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        phases[phase(out)] += 1


def train(out: Path) -> subprocess.Popen[bytes]:
    """Start the command in a process group of its own."""
    command = [sys.executable, "-m", "sinew", "train", "tabletop", *FLAGS, "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def phase(out: Path) -> str:
    """Return what the run was doing when it was killed."""
    states = list(out.glob("tabletop-*/state.json"))
    name = json.loads(states[0].read_text())["phase"] if states else "start"
    stores = list(out.glob("data/*/episodes.jsonl"))
    return (
        "collect"
        if name == "train" and not (states and (states[0].parent / "checkpoints").exists()) and stores
        else name
    )


def outcome(out: Path) -> tuple[str, str, str]:
    """Return digests of the demonstrations, of the final weights and of every evaluated episode."""
    demonstrations = next(out.glob("data/*/episodes.jsonl")).read_bytes()
    run = next(out.glob("tabletop-*/state.json")).parent
    weights = (run / "checkpoints" / "last" / "model.safetensors").read_bytes()
    cells = json.dumps(json.loads((run / "evaluation.json").read_text())["cells"], sort_keys=True).encode()
    digests = [hashlib.sha256(content).hexdigest() for content in (demonstrations, weights, cells)]
    return digests[0], digests[1], digests[2]


if __name__ == "__main__":
    main()
