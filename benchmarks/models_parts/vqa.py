"""Questions about the embedded world through the stages: by kind, with stages left out, blank images, a blind model.

A cell is one run of ``sinew train vlm`` with other stages and another seed; finished ones are found again below
``runs/bench``, unfinished ones go on. CPU seconds are those of the training phase.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rows import ROOT, Row

from sinew.evaluate.answers import CAPTION, Mark, by_kind, pooled
from sinew.presets.vlm import preset
from sinew.run import RunConfig, train
from sinew.run.stages import Stage, TextsConfig
from sinew.run.teaching import marks_of, stages_of

RUNS = ROOT / "runs" / "bench"
COMMAND = "python benchmarks/models.py --only vqa"
SEEDS = (0, 1, 2)
BINDING = ("colour", "shape", "colour by side", "shape by side")
"""Kinds that need to know which colour belongs to which shape or place."""
SECONDS_MOST = 900


def arms() -> dict[str, tuple[tuple[Stage, ...], tuple[int, ...]]]:
    """Return stages and seeds of each arm.

    What a stage that is left out would have cost goes to the last one, so that all arms cost about the same; stages
    are told apart by measured seconds per update, beside the table.
    """
    read, align, answer = stages_of(preset("small"))
    everything = dataclasses.replace(answer.recipe, parts=("vision", "projector", "lm"))
    scratch = dataclasses.replace(answer, updates=answer.updates + read.updates + align.updates, recipe=everything)
    longer = dataclasses.replace(answer, updates=answer.updates + align.updates)
    questions = dataclasses.replace(answer, recipe=dataclasses.replace(answer.recipe, exchanges="rest"))
    return {
        "all stages": ((read, align, answer), SEEDS),
        "1b alone": ((scratch,), SEEDS),
        "without 1a": ((read, longer), (0,)),
        "without captions in 1b": ((read, align, questions), (0,)),
    }


def config_of(name: str, stages: tuple[Stage, ...], seed: int, *, quick: bool) -> RunConfig:
    """Return the run of a cell; only the whole chain is compared with a blind model."""
    base = preset("small")
    texts = base.texts or TextsConfig()
    if quick:
        stages = tuple(dataclasses.replace(stage, updates=2) for stage in stages)
        texts = dataclasses.replace(texts, scenes=60, exam=4, blind=2)
    if name != "all stages":
        texts = dataclasses.replace(texts, blind=0)
    loop = dataclasses.replace(base.loop, updates=sum(stage.updates for stage in stages))
    return dataclasses.replace(base, seed=seed, stages=stages, texts=texts, loop=loop, device="cpu")


def cell(name: str, stages: tuple[Stage, ...], seed: int, *, quick: bool) -> Path:
    """Run a cell to its end, or find it done; return its directory."""
    (path,) = train(
        config_of(name, stages, seed, quick=quick), root=RUNS / ("quick" if quick else "full"), command=COMMAND
    )
    return path


def rows(quick: bool) -> list[Row]:  # noqa: FBT001  (called by position, as all groups are)
    """Return the rows of the table."""
    paths = {
        name: [cell(name, stages, seed, quick=quick) for seed in (seeds[:1] if quick else seeds)]
        for name, (stages, seeds) in arms().items()
    }
    found = chain_rows(paths["all stages"]) + against_scratch(paths["all stages"], paths["1b alone"])
    return found + left_out(paths)


def marks(paths: Sequence[Path], which: str = "seen", split: str = "seen") -> tuple[Mark, ...]:
    """Return the marks of several seeds together."""
    return pooled([getattr(marks_of(path)[split], which) for path in paths])


def share(some: Sequence[Mark], kinds: Sequence[str], group: str) -> Mark:
    """Return the marks of some kinds and a group as one."""
    kept = [mark for mark in some if mark.kind in kinds and mark.group == group]
    return Mark(
        " + ".join(kinds), group, *(sum(getattr(mark, name) for mark in kept) for name in ("n", "right", "exact"))
    )


def row(what: str, mark: Mark, bar: float | None, seeds: int) -> Row:
    """Return a row of a share with its interval."""
    low, high = mark.interval
    return Row(
        what,
        round(mark.rate, 4),
        "share right",
        "" if bar is None else f">= {bar}",
        None if bar is None else mark.rate >= bar,
        mark.n,
        round(low, 4),
        round(high, 4),
        ", ".join(map(str, SEEDS[:seeds])),
        COMMAND,
    )


def chain_rows(paths: Sequence[Path]) -> list[Row]:
    """Return how well the whole chain answers, by kind, with its bars."""
    seen, count = marks(paths), len(paths)
    bars = {("quadrant", "two"): 0.92, ("relation", "two"): 0.85, ("count", "two"): 0.95}
    bars |= {(kind, "two"): 0.95 for kind in BINDING} | {(kind, "three"): 0.9 for kind in BINDING}
    found = [
        row(
            f"{mark.kind}, {mark.group}",
            mark,
            0.98 if mark.group == "one" else bars.get((mark.kind, mark.group)),
            count,
        )
        for mark in seen
        if mark.kind != CAPTION
    ]
    captions = next(mark for mark in by_kind(seen) if mark.kind == CAPTION)
    found.append(
        dataclasses.replace(row("captions kept: things named rightly", captions, 0.9, count), low=None, high=None)
    )
    seconds = max(json.loads((path / "timings.json").read_text())["phases"]["train"]["cpu_s"] for path in paths)
    found.append(
        Row("CPU time of all stages, slowest seed", round(seconds), "s", f"<= {SECONDS_MOST}", seconds <= SECONDS_MOST)
    )
    blank, blind = ({mark.kind: mark.rate for mark in by_kind(marks(paths, which))} for which in ("blank", "blind"))
    for kind, rate in blank.items():
        gap = abs(rate - blind[kind])
        found.append(
            Row(f"blank image against a blind model, {kind}", round(gap, 4), "difference", "<= 0.07", gap <= 0.07)
        )
    unseen = marks(paths, split="pairs")
    return found + [row(f"unseen pair, {mark.kind}, {mark.group}", mark, None, count) for mark in unseen]


def against_scratch(chain: Sequence[Path], scratch: Sequence[Path]) -> list[Row]:
    """Return how far the chain is ahead of 1b alone from random weights, on binding with two things."""
    gaps: list[float] = []
    for one, other in zip(chain, scratch, strict=True):
        rates = [share(marks_of(path)["seen"].seen, BINDING, "two").rate for path in (one, other)]
        gaps.append(rates[0] - rates[1])
    return [
        Row(
            "ahead of 1b alone, binding of two, worst seed",
            round(min(gaps), 4),
            "share right",
            ">= 0.3",
            min(gaps) >= 0.3,
            seeds=", ".join(map(str, SEEDS[: len(gaps)])),
            command=COMMAND,
        )
    ]


def left_out(paths: Mapping[str, Sequence[Path]]) -> list[Row]:
    """Return what each arm reaches on binding, relations and captions."""
    found: list[Row] = []
    for name, some in paths.items():
        seen = marks(some)
        for what, kinds in (("binding", BINDING), ("relation", ("relation",)), (CAPTION, (CAPTION,))):
            found.append(row(f"{name}: {what}, two", share(seen, kinds, "two"), None, len(some)))
    return found
