"""Measures what clicked labels promise: a held label is right, and a kill loses none."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rows import Row

from sinew import run
from sinew.data.labels import Label, append, episode_names, image_targets, read
from sinew.data.store import Store
from sinew.models.grounding import Projection
from sinew.presets import PRESETS

COMMAND = "python benchmarks/goes_on.py --only labels"
CLICK_FOR_EVER = """
import itertools, sys
from pathlib import Path
from sinew.data.labels import Label, append
for frame in itertools.count():
    append(Path(sys.argv[1]), [Label("episode", frame, "target", "front", "seen", (0.5, 0.5))])
    print(frame + 1, flush=True)
"""


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (the scripts' signature)
    """Measure one bar after the other."""
    with tempfile.TemporaryDirectory() as place:
        yield from _held(Path(place), episodes=24 if quick else 200)
        yield _killed(Path(place) / "labels.jsonl", kills=5 if quick else 30)


def _held(place: Path, *, episodes: int) -> Iterator[Row]:
    """Label first frames exactly, let the labels hold, and compare with where the things really were."""
    config = PRESETS["tabletop"]("small")
    config = dataclasses.replace(config, workers=1, collect=dataclasses.replace(config.collect, episodes=episodes))
    store = Store.open(run.collect(config, out=place / "store"))
    camera, spec = next(iter(store.spec.cameras.items()))
    project = Projection(spec)
    true: dict[str, NDArray[np.float32]] = {
        f"image.{name}": project(torch.tensor(np.array(store.column(f"targets.{name}")))).numpy()
        for name in store.target_sizes
    }
    names = episode_names(store)
    labels = [
        Label(names[number], 0, name.removeprefix("image."), camera, "seen", (float(where[0]), float(where[1])))
        for name, places in true.items()
        for number, record in enumerate(store.records)
        if np.all(((where := places[record.offset]) >= 0) & (where <= 1))  # NaN where the sentence names none
    ]
    append(place / "held.jsonl", labels)
    targets = image_targets(store, place / "held.jsonl")
    size = np.array([spec.width, spec.height])
    off = np.concatenate([np.abs((targets[name] - true[name]) * size).max(axis=1) for name in true])
    known = off[np.isfinite(off)]
    within = 100 * float((known <= 1).mean())
    yield Row(
        "held labels within a pixel of the truth",
        round(within, 2),
        "%",
        bar=">= 99 %",
        ok=within >= 99,
        n=len(known),
        command=COMMAND,
        note=f"images of {spec.width} x {spec.height}; the largest error is {known.max():.2f} px",
    )
    for name in true:
        clicked = sum(f"image.{label.point}" == name for label in labels)
        frames = int(np.isfinite(targets[name]).all(axis=1).sum())
        yield Row(
            f"frames that a click on the {name.removeprefix('image.')} labels",
            round(frames / clicked, 1),
            "frames",
            n=clicked,
            command=COMMAND,
            note="the label ends when the hand or its shadow comes near",
        )


def _killed(path: Path, *, kills: int) -> Row:
    """Kill a writer again and again, at no chosen moment, and count promised labels that are gone."""
    lost = promised = 0
    for number in range(kills):
        path.unlink(missing_ok=True)
        writer = subprocess.Popen([sys.executable, "-c", CLICK_FOR_EVER, str(path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        seen = [writer.stdout.readline() for _ in range(1 + number)]
        writer.kill()
        seen += writer.stdout.read().splitlines()
        writer.wait()
        append(path, [Label("another", 0, "target", "front", "hidden")])
        there = {label.frame for label in read(path).values() if label.episode == "episode"}
        lost += len(set(range(len(seen))) - there)
        promised += len(seen)
    return Row(
        "saved labels that kill -9 of the writer loses",
        lost,
        "labels",
        bar="0",
        ok=lost == 0,
        n=promised,
        command=COMMAND,
        note=f"{kills} kills",
    )
