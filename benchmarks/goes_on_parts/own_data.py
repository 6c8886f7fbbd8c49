"""Measures what 50 demonstrations of one task teach, recorded as a robot's log holds them: no labels, no camera pose.

    python benchmarks/goes_on.py --only own_data              every cell; hours on two cores, finished ones are kept
    python benchmarks/goes_on_parts/own_data.py "one task"    cells whose name holds the words, as lines

The scripted expert records lifts with an unsteady hand; what is exported is what was sent to the robot, images, state
and sentence, as HDF5. ``sinew train bc --data`` learns from that, and what it learned acts in the world.
"""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rows import ROOT, Row

from sinew.data.collect import collect
from sinew.data.config import CollectConfig
from sinew.data.episode import Episode
from sinew.data.formats.hdf5 import Hdf5
from sinew.data.formats.ingest import held_out
from sinew.data.labels import Label, append, labels_path
from sinew.data.store import Store
from sinew.engine.workers import start_workers
from sinew.envs.tabletop.config import TabletopConfig
from sinew.evaluate import summary
from sinew.evaluate.config import EvaluateConfig
from sinew.evaluate.intervals import bootstrap_seeds, wilson
from sinew.models.grounding import Projection
from sinew.presets import PRESETS
from sinew.run.parts import run_path

PLACE = ROOT / "runs" / "own_data"
SEEDS = (0, 1, 2)
DEMONSTRATIONS, CLICKS, EPISODES = 50, 20, 100
HAND_PX = 1.0
"""How far a person's click is off, standard deviation [px]."""
WORLDS = {
    "one task": TabletopConfig(objects=2, colours=2, shapes=1, zones=1, mid_starts=0.0),
    "any of many things": TabletopConfig(mid_starts=0.0),
}
"""One task: one of two cubes is named, in ten sentences. The other: all things of the world, each in a few episodes."""


@dataclass(frozen=True)
class Variant:
    """What is known of the recordings.

    Attributes:
        title: in the table.
        data: file or store to train on.
        flags: of the command line beside it.
    """

    title: str
    data: str
    flags: tuple[str, ...] = ()


VARIANTS = {
    "as recorded": Variant("no labels (hindsight, the preset)", "log.hdf5"),
    "actions only": Variant("no labels, no hindsight", "log.hdf5", ("--data.labels", "none")),
    "clicks": Variant(f"{CLICKS} clicked frames, no hindsight", "clicked.hdf5", ("--data.labels", "image")),
    "init": Variant("no labels, begun with the demo's checkpoint", "log.hdf5"),
    "labels": Variant("simulator labels and a calibrated camera", "labelled"),
}
BAR = "one task", "as recorded"


@dataclass(frozen=True)
class Cell:
    """One training: a world, what is known of the recordings, a seed."""

    world: str
    variant: str
    seed: int

    @property
    def name(self) -> str:
        """What it is called on disk and on the command line."""
        return f"{self.world}, {self.variant}, seed {self.seed}"


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (the signature that all parts share)
    """Yield a row for each world and variant, the seeds pooled; with ``quick`` from what is on disk."""
    for world in WORLDS:
        for variant in VARIANTS:
            cells = [Cell(world, variant, seed) for seed in SEEDS]
            yield row(world, variant, [found for cell in cells if (found := result(cell, learn=not quick)) is not None])


def row(world: str, variant: str, results: Sequence[dict[str, Any]]) -> Row:
    """Return the row of some seeds' results."""
    held = (world, variant) == BAR
    bar = ">= 80 %" if held else ""
    what = f"{DEMONSTRATIONS} lifts, {world}, {VARIANTS[variant].title}"
    command = "python benchmarks/goes_on.py --only own_data"
    if not results:
        return Row(what, None, "%", bar=bar, command=command)
    outcomes = [found["chosen"] for found in results]
    wins, n = sum(sum(one) for one in outcomes), sum(len(one) for one in outcomes)
    low, high = wilson(wins, n)
    if len(outcomes) > 1:
        drawn = bootstrap_seeds(outcomes)
        low, high = min(low, drawn[0]), max(high, drawn[1])
    worst, last = min(sum(one) for one in outcomes), sum(sum(found["last"]) for found in results)
    before = results[0].get("before")
    note = f"held-out states; worst seed {worst} of {EPISODES}; last instead of best checkpoint {100 * last / n:.0f} %"
    return Row(
        what,
        round(100 * wins / n, 1),
        "%",
        bar=bar,
        ok=wins >= 0.8 * n if held else None,
        n=n,
        low=round(100 * low, 1),
        high=round(100 * high, 1),
        seeds=", ".join(str(found["seed"]) for found in results),
        command=command,
        note=note if before is None else f"{note}; that checkpoint before training {sum(before)} of {len(before)}",
    )


def result(cell: Cell, *, learn: bool) -> dict[str, Any] | None:
    """Return what a cell reached, measured now where it is missing and ``learn`` says so."""
    file = PLACE / "results" / f"{cell.name.replace(', ', '-').replace(' ', '_')}.json"
    if file.exists():
        return json.loads(file.read_text())
    demo = demo_checkpoint()
    if not learn or (cell.variant == "init" and demo is None):
        return None
    record(PLACE / cell.world.replace(" ", "_"), WORLDS[cell.world])
    run = train(cell, demo)
    world = WORLDS[cell.world]
    found = {
        "seed": cell.seed,
        "run": str(run.relative_to(ROOT)),
        "chosen": act(run / "checkpoints" / "chosen", world),
        "last": act(run / "checkpoints" / "last", world),
    }
    if cell.variant == "init" and demo is not None:
        found["before"] = act(demo / "checkpoints" / "last", world)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found) + "\n")
    return found


def demo_checkpoint() -> Path | None:
    """Return the run of the demo, seed 0, where it is on disk and finished."""
    path = run_path(PRESETS["tabletop"]("small"), ROOT / "runs" / "first_run")
    return path if (path / "checkpoints" / "last").exists() else None


def train(cell: Cell, demo: Path | None) -> Path:
    """Train a cell by the command line that a user types, and return its run."""
    place = PLACE / cell.world.replace(" ", "_")
    variant = VARIANTS[cell.variant]
    words = ["train", "bc", "--data", str(place / variant.data), "--seed", str(cell.seed), *variant.flags]
    words += ["--out", str(place / "runs" / cell.variant.replace(" ", "_"))]
    if cell.variant == "init":
        words += ["--init", str(demo)]
    done = subprocess.run([sys.executable, "-m", "sinew", *words], stdout=subprocess.PIPE, text=True, check=True)
    said = re.search(r"^(?:Run directory: |Going on with )?(\S+)(?: is finished| \(|$)", done.stdout, re.MULTILINE)
    assert said is not None, done.stdout
    return Path(said[1])


def act(policy: Path, world: TabletopConfig) -> list[bool]:
    """Return for each of the listed initial states whether the policy lifted what was named."""
    settings = EvaluateConfig(episodes=EPISODES, extra=0, controls=False, tasks=("lift",))
    with start_workers(0) as pool:
        found = summary.evaluate(str(policy), world, settings, pool=pool)
    return [outcome.success for cell in found.cells for outcome in cell.outcomes]


def record(place: Path, world: TabletopConfig) -> None:
    """Record the demonstrations of a world, once, and write them as a log, a log with clicks, and a labelled store."""
    if (place / "labelled" / "store.json").exists():
        return
    settings = CollectConfig(
        episodes=DEMONSTRATIONS, mix={"lift": 1}, noise=(0.0, 0.2), burst=0.02, flip=0.0, group=10, held_out=0.0
    )
    with start_workers(0) as pool:
        store = collect(place / "recorded", world, settings, seed=0, pool=pool)
    # What a robot's log holds is what was sent to it, the demonstrator's unsteadiness included.
    episodes = [store.episode(number) for number in range(store.num_episodes)]
    sent = [dataclasses.replace(one, action=np.array(one.executed), task="lift") for one in episodes]
    bare = [without_truth(one) for one in sent]
    for name in ("log.hdf5", "clicked.hdf5"):
        (place / name).unlink(missing_ok=True)
        Hdf5.write(place / name, bare)
    labels_path(place / "clicked.hdf5").unlink(missing_ok=True)
    append(labels_path(place / "clicked.hdf5"), clicks(sent))
    labelled = Store.create(place / "labelled", store.spec, ("target",))
    only = [dataclasses.replace(one, targets={"target": np.array(one.targets["target"])}) for one in sent]
    labelled.append(only)
    labelled.unlock()


def without_truth(episode: Episode) -> Episode:
    """Return an episode without labels, of a robot whose camera nobody calibrated."""
    cameras = {
        name: dataclasses.replace(camera, intrinsics=None, pose=None) for name, camera in episode.spec.cameras.items()
    }
    return dataclasses.replace(episode, spec=dataclasses.replace(episode.spec, cameras=cameras), targets={})


def clicks(episodes: Sequence[Episode]) -> list[Label]:
    """Return clicks on the named thing in the first frame of some training episodes, as exact as a hand is."""
    kept = held_out([one.task for one in episodes], 0.1)
    chosen = [number for number in range(len(episodes)) if number not in kept][:CLICKS]
    random = np.random.default_rng(0)
    labels: list[Label] = []
    for number in chosen:
        (camera, spec), truth = next(iter(episodes[number].spec.cameras.items())), episodes[number].targets["target"]
        size = np.array([spec.width, spec.height])
        exact = Projection(spec)(torch.tensor(np.array(truth[:1])))[0].numpy()
        u, v = np.clip(exact + random.normal(0.0, HAND_PX, 2) / size, 0.0, 1.0)
        labels.append(Label(f"episode_{number}", 0, "target", camera, "seen", (float(u), float(v))))
    return labels


if __name__ == "__main__":
    for world in WORLDS:
        for variant in VARIANTS:
            for seed in SEEDS:
                cell = Cell(world, variant, seed)
                if all(word in cell.name for word in sys.argv[1:]):
                    found = result(cell, learn=True)
                    print(
                        cell.name, "not run" if found is None else f"{sum(found['chosen'])} of {EPISODES}", flush=True
                    )
