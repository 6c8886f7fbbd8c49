"""Measures what demonstrations of another robot are worth: few of one robot alone, and beside many of the other.

The other robot is the same gantry as a log of another lab would show it: base turned by a quarter, millimetres, a
gripper that counts the other way, other names, an order of its own, and neither contacts nor its own target in the
state. So only eyes and words can be shared: in the network no value of one stands at a place of the other's.
"""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from goes_on_parts.own_data import DEMONSTRATIONS, EPISODES, PLACE, WORLDS, act, record, without_truth
from rows import Row

from sinew.data.episode import Episode
from sinew.data.formats.hdf5 import Hdf5
from sinew.data.store import Store
from sinew.evaluate.intervals import bootstrap_seeds, wilson

COMMAND = "python benchmarks/data.py --only bodies"
SEEDS = (0, 1, 2)
FEW = 10
WORLD = "one task"
MM = 1000.0
ARMS = {
    f"{FEW} lifts of a robot": ("few.hdf5",),
    f"{FEW} lifts of a robot, {DEMONSTRATIONS - FEW} of another": ("few.hdf5", "other.hdf5"),
}
"""What is learned from, by what it is called."""


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (the signature that all parts share)
    """Yield a row for each; with ``quick`` from what is on disk."""
    for what, files in ARMS.items():
        found = {seed: one for seed in SEEDS if (one := result(files, seed, learn=not quick)) is not None}
        if not found:
            yield Row(f"{what}: it lifts", None, "%", command=COMMAND)
            continue
        outcomes = list(found.values())
        wins, n = sum(map(sum, outcomes)), sum(map(len, outcomes))
        low, high = wilson(wins, n) if len(found) == 1 else bootstrap_seeds(outcomes)
        numbers = [round(100 * value, 1) for value in (wins / n, low, high)]
        yield Row(
            f"{what}: it lifts",
            numbers[0],
            "%",
            n=n,
            low=numbers[1],
            high=numbers[2],
            seeds=", ".join(map(str, found)),
            command=COMMAND,
            note="closed loop, held-out states, best held-out checkpoint",
        )


def result(files: Sequence[str], seed: int, *, learn: bool) -> list[bool] | None:
    """Return for each initial state whether the named thing was lifted by a policy learned from these files."""
    place = PLACE / "bodies"
    name = "-".join(file.removesuffix(".hdf5") for file in files)
    kept = place / "results" / f"{name}-seed_{seed}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    if not learn:
        return None
    write(place)
    words = ["train", "bc", "--seed", str(seed), "--out", str(place / "runs" / name)]
    words += [word for file in files for word in ("--data", str(place / file))]
    words += ["--data.mix.bodies", "several"] if len(files) > 1 else []
    done = subprocess.run([sys.executable, "-m", "sinew", *words], stdout=subprocess.PIPE, text=True, check=True)
    said = re.search(r"^(?:Run directory: |Going on with )?(\S+)(?: is finished| \(|$)", done.stdout, re.MULTILINE)
    assert said is not None, done.stdout
    run = Path(said[1])
    policy = run / "bodies" / "gantry-gripper" if len(files) > 1 else run / "checkpoints" / "chosen"
    outcomes = act(policy, WORLDS[WORLD])
    assert len(outcomes) == EPISODES
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(outcomes) + "\n")
    return outcomes


def write(place: Path) -> None:
    """Write the first lifts as the one robot's log, and the others as the other's."""
    if (place / "other.hdf5").exists():
        return
    recorded = PLACE / WORLD.replace(" ", "_")
    record(recorded, WORLDS[WORLD])
    store = Store.open(recorded / "recorded")
    every = [store.episode(number) for number in range(DEMONSTRATIONS)]
    sent = [without_truth(dataclasses.replace(one, action=np.array(one.executed), task="lift")) for one in every]
    place.mkdir(parents=True, exist_ok=True)
    (place / "few.hdf5").unlink(missing_ok=True)
    Hdf5.write(place / "few.hdf5", sent[:FEW])
    Hdf5.write(place / "other.hdf5", [as_another(one) for one in sent[FEW:]])


def as_another(episode: Episode) -> Episode:
    """Return what the other robot would have logged of the same."""
    old = episode.spec
    names = ("right", "forward", "up", "width", "closed")
    spec = dataclasses.replace(
        old,
        embodiment="other-gantry",
        state=names,
        state_units=("mm",) * 4 + ("closed",),
        action=("close", "up", "right", "forward"),
        action_units=("closed", "mm", "mm", "mm"),
        low=(0.0, *(MM * old.low[n] for n in (2, 1, 0))),
        high=(1.0, *(MM * old.high[n] for n in (2, 1, 0))),
        binary=("close",),
        gripper_sign=-1,
    )
    x, y, z, opening, grip = (episode.state[:, old.state.index(name)] for name in ("x", "y", "z", "opening", "grip"))
    state = np.stack([-MM * y, MM * x, MM * z, MM * opening, 1 - grip], axis=1).astype(np.float32)
    dx, dy, dz, opens = episode.action.T
    action = np.stack([1 - opens, MM * dz, -MM * dy, MM * dx], axis=1).astype(np.float32)
    return dataclasses.replace(episode, spec=spec, state=state, action=action, executed=action)
