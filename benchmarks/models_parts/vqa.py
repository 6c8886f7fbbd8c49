"""Questions about the embedded world through the stages: by kind, with stages left out, blank images, a blind model.

A cell is one run of ``sinew train vlm`` with other stages and another seed; finished ones are found again below
``runs/bench``, unfinished ones go on. Ctrl-C ends the measuring: what is not finished then is written as not run.

All arms cost the same CPU seconds: what a stage costs an update is measured first and kept in ``pace.json`` beside the
cells, and the last stage of an arm gets the updates that bring it to the seconds of the whole chain. CPU seconds in the
table are those of the training phase.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rows import ROOT, Row

from sinew.core.files import read_json, write_json
from sinew.core.types import Cursor
from sinew.engine.track import read_rows
from sinew.evaluate.answers import CAPTION, Mark, by_kind, pooled
from sinew.presets.vlm import preset
from sinew.recipes.config import PretrainConfig
from sinew.recipes.pretrain import Pretraining
from sinew.run import RunConfig, train
from sinew.run.corpus import gather
from sinew.run.parts import run_path
from sinew.run.stages import Stage, TextsConfig
from sinew.run.teaching import build, image_size, marks_of, stages_of

RUNS = ROOT / "runs" / "bench"
COMMAND = "python benchmarks/models.py --only vqa"
SEEDS = (0, 1, 2)
CHAIN, ALONE = "all stages", "1b alone"
EVERY = ("vision", "projector", "lm")
BINDING = ("colour", "shape", "colour by side", "shape by side")
"""Kinds that need to know which colour belongs to which shape or place."""
SECONDS_MOST = 900
WARM, TIMED = 5, 40
"""Updates that are not timed, and those whose median is a stage's pace."""
ALIGN, DESCRIBE, WORDS = 100, 600, 600
"""Updates of the stages that some arms have more: a projector alone, one with a language model, text alone."""


def chains() -> dict[str, tuple[Stage, ...]]:
    """Return the stages of each arm, the last of each to be made as long as the whole chain costs."""
    read, answer = stages_of(preset("small"))
    alike = dataclasses.replace(answer, recipe=dataclasses.replace(answer.recipe, parts=EVERY))  # nothing to be kept
    learn = PretrainConfig(data="captions", parts=("projector", "lm"), exchanges="first", batch=read.recipe.batch)
    align = Stage("1a align", ALIGN, dataclasses.replace(learn, parts=("projector",)), answer.optim)
    describe = Stage("1a describe", DESCRIBE, learn, answer.optim)
    instead = dataclasses.replace(describe, recipe=dataclasses.replace(learn, parts=EVERY))
    words = dataclasses.replace(answer.recipe, parts=("lm",), sight="words", exchanges="rest")
    questions = dataclasses.replace(answer.recipe, exchanges="rest")
    return {
        CHAIN: (read, answer),
        ALONE: (alike,),
        "with 1a, the projector alone": (read, align, answer),
        "with 1a, projector and language model": (read, describe, answer),
        "with 1a in place of 0a, all parts": (instead, alike),
        "with 0b": (read, Stage("0b words", WORDS, words, answer.optim), answer),
        "without captions in 1b": (read, dataclasses.replace(answer, recipe=questions)),
    }


def arms(root: Path) -> dict[str, tuple[Stage, ...]]:
    """Return the stages of each arm, all of which cost the seconds of the whole chain."""
    found = chains()
    paces = paces_of([stage for stages in found.values() for stage in stages], root)
    budget = sum(stage.updates * paces[key_of(stage)] for stage in found[CHAIN])
    for name, (*others, last) in found.items():
        left = budget - sum(stage.updates * paces[key_of(stage)] for stage in others)
        updates = max(10, round(left / paces[key_of(last)], -1))
        found[name] = (*others, last if name == CHAIN else dataclasses.replace(last, updates=int(updates)))
    return found


def order() -> list[tuple[str, int]]:
    """Return arm and seed of every cell, what matters most first."""
    others = [name for name in chains() if name not in (CHAIN, ALONE)]
    return [(name, seed) for seed in SEEDS for name in (CHAIN, ALONE)] + [(name, SEEDS[0]) for name in others]


def key_of(stage: Stage) -> str:
    """Return what the pace of a stage hangs on: the name of a run of it alone."""
    alone = dataclasses.replace(stage, name="", updates=1)
    return run_path(dataclasses.replace(preset("small"), stages=(alone,)), Path()).name


def paces_of(stages: Sequence[Stage], root: Path) -> dict[str, float]:
    """Return CPU seconds per update of each stage, measured the first time they are asked for.

    One stage after the other, as in turns each would find its memory taken by the others.
    """
    path = root / "pace.json"
    known: dict[str, float] = read_json(path) if path.exists() else {}
    wanted = {key_of(stage): stage for stage in stages}
    if set(wanted) <= set(known):
        return known
    base = preset("small")
    assert base.vlm is not None
    config = dataclasses.replace(base, device="cpu", texts=TextsConfig(scenes=300, exam=1))
    corpus = gather(config, root, image_size(config.vlm or base.vlm))
    found: dict[str, float] = {}
    for key, stage in wanted.items():
        recipe = Pretraining(
            build(config, corpus), corpus.stores["captions"], stage.recipe, stage.optim, updates=stage.updates, seed=0
        )
        took: list[float] = []
        for update in range(TIMED + WARM):
            begun = time.process_time()
            recipe.update(next(recipe.batches(Cursor(update=update))))
            took.append(time.process_time() - begun)
        found[key] = statistics.median(took[WARM:])
    root.mkdir(parents=True, exist_ok=True)
    write_json(path, {**known, **found})
    return {**known, **found}


def config_of(name: str, stages: tuple[Stage, ...], seed: int, *, quick: bool) -> RunConfig:
    """Return the run of a cell; only the whole chain is compared with a blind model."""
    base = preset("small")
    texts = base.texts or TextsConfig()
    if quick:
        stages = tuple(dataclasses.replace(stage, updates=2) for stage in stages)
        texts = dataclasses.replace(texts, scenes=60, exam=4, blind=2)
    if name != CHAIN:
        texts = dataclasses.replace(texts, blind=0)
    loop = dataclasses.replace(base.loop, updates=sum(stage.updates for stage in stages))
    return dataclasses.replace(base, seed=seed, stages=stages, texts=texts, loop=loop, device="cpu")


def cells(root: Path, *, quick: bool) -> dict[str, list[Path]]:
    """Run every cell to its end, or find it done; return the directories by arm, of those that are finished."""
    found: dict[str, list[Path]] = {name: [] for name in chains()}
    stages = arms(root)
    try:
        for name, seed in order():
            if not (quick and seed):
                found[name] += train(config_of(name, stages[name], seed, quick=quick), root=root, command=COMMAND)
    except KeyboardInterrupt:
        print("stopped: cells that are not finished are written as not run")
    return found


def rows(quick: bool) -> list[Row]:  # noqa: FBT001  (called by position, as all groups are)
    """Return the rows of the table."""
    paths = cells(RUNS / ("quick" if quick else "full"), quick=quick)
    if not paths[CHAIN]:
        return [Row(f"{CHAIN}: questions by kind", None, "share right", command=COMMAND)]
    found = chain_rows(paths[CHAIN]) + against_scratch(paths[CHAIN], paths[ALONE])
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
    """Return a row of a share with its interval, which a mean of shares has not."""
    low, high = mark.interval if mark.right == mark.exact else (None, None)
    return Row(
        what,
        round(mark.rate, 4),
        "share right",
        "" if bar is None else f">= {bar}",
        None if bar is None else mark.rate >= bar,
        mark.n,
        None if low is None else round(low, 4),
        None if high is None else round(high, 4),
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
    found.append(row("captions kept: things named rightly", captions, 0.9, count))
    slowest = max(map(seconds_of, paths))
    found.append(
        Row(
            "CPU time of all stages, slowest seed",
            round(slowest),
            "s",
            f"<= {SECONDS_MOST}",
            slowest <= SECONDS_MOST,
            command=COMMAND,
        )
    )
    exact = min(exact_after_reading(path) for path in paths)
    found.append(
        Row(
            "captions without a mistake after 0a, worst seed",
            round(exact, 4),
            "share, told the truth so far",
            command=COMMAND,
        )
    )
    blank, blind = ({mark.kind: mark.rate for mark in by_kind(marks(paths, which))} for which in ("blank", "blind"))
    for kind, rate in blank.items():
        gap = abs(rate - blind[kind])
        found.append(
            Row(
                f"blank image against a blind model, {kind}",
                round(gap, 4),
                "difference",
                "<= 0.07",
                gap <= 0.07,
                command=COMMAND,
            )
        )
    unseen = marks(paths, split="pairs")
    return found + [row(f"unseen pair, {mark.kind}, {mark.group}", mark, None, count) for mark in unseen]


def seconds_of(path: Path) -> float:
    """Return the CPU seconds of a cell's training [s]."""
    return json.loads((path / "timings.json").read_text())["phases"]["train"]["cpu_s"]


def exact_after_reading(path: Path) -> float:
    """Return the last share of captions that the reader of stage 0a wrote without a mistake."""
    return [float(row["exact"]) for row in read_rows(path / "metrics.jsonl") if "exact" in row][-1]


def against_scratch(chain: Sequence[Path], scratch: Sequence[Path]) -> list[Row]:
    """Return how far the chain is ahead of 1b alone from random weights, on binding with two things."""
    what = "ahead of 1b alone, binding of two, worst seed"
    gaps: list[float] = []
    for one, other in zip(chain, scratch, strict=False):
        rates = [share(marks_of(path)["seen"].seen, BINDING, "two").rate for path in (one, other)]
        gaps.append(rates[0] - rates[1])
    if not gaps:
        return [Row(what, None, "share right", ">= 0.3", command=COMMAND)]
    seeds = ", ".join(map(str, SEEDS[: len(gaps)]))
    worst = min(gaps)
    return [Row(what, round(worst, 4), "share right", ">= 0.3", worst >= 0.3, seeds=seeds, command=COMMAND)]


def left_out(paths: Mapping[str, Sequence[Path]]) -> list[Row]:
    """Return what each arm reaches on binding, relations and captions, and what it cost."""
    found: list[Row] = []
    for name, some in paths.items():
        kinds = {"binding": BINDING, "relation": ("relation",), "quadrant": ("quadrant",), CAPTION: (CAPTION,)}
        if not some:
            found += [Row(f"{name}: {what}, two", None, "share right", command=COMMAND) for what in kinds]
            continue
        seen = marks(some)
        found += [
            row(f"{name}: {what}, two", share(seen, which, "two"), None, len(some)) for what, which in kinds.items()
        ]
        found.append(Row(f"{name}: CPU time, slowest seed", round(max(map(seconds_of, some))), "s", command=COMMAND))
    return found
