"""The learning cells of the first run: the preset, its controls and splits, and one change at a time."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from rows import ROOT, Row

RUNS = ROOT / "runs" / "first_run"
SEEDS = (0, 1, 2)
SKILLS = ("touch", "lift", "place", "push")


def cells() -> dict[str, Any]:
    """Return the configuration of every learning cell without its seed: the preset, and one change at a time.

    The changes are compared at half the updates, the preset among them.
    """
    from sinew.models.config import FlowHeadConfig
    from sinew.presets import PRESETS
    from sinew.recipes.config import DaggerConfig

    base = PRESETS["tabletop"]("small")
    assert isinstance(base.recipe, DaggerConfig)
    half = dataclasses.replace(
        base,
        evaluate=dataclasses.replace(base.evaluate, controls=False, videos=1),
        loop=dataclasses.replace(base.loop, updates=base.loop.updates // 2),
    )
    blind = dataclasses.replace(base.policy, grounding=dataclasses.replace(base.policy.grounding, weight=0.0))
    flow = dataclasses.replace(base.policy, head=FlowHeadConfig())
    changed = {
        "the preset, mlp head, 3 DAgger rounds": half,
        "without grounding labels": dataclasses.replace(half, policy=blind),
        "flow head": dataclasses.replace(half, policy=flow),
        **{
            f"DAgger rounds: {count}": dataclasses.replace(
                half, recipe=dataclasses.replace(base.recipe, rounds=base.recipe.rounds[:count])
            )
            for count in (0, 1, 2)
        },
    }
    return {"preset": base, **{f"half the updates, {name}": config for name, config in changed.items()}}


def evaluations(config: Any, seeds: tuple[int, ...], *, learn: bool) -> list[Any]:  # noqa: ANN401
    """Return the evaluation of each seed's run; with ``learn`` train what is missing, else leave it out."""
    from sinew.evaluate import summary
    from sinew.run import train
    from sinew.run.parts import run_path

    found: list[Any] = []
    for seed in seeds:
        one = dataclasses.replace(config, seed=seed)
        path = run_path(one, RUNS)
        state = path / "state.json"
        done = state.exists() and json.loads(state.read_text())["phase"] == "done"
        if learn and not done:
            train(one, root=RUNS, command=f"sinew train --config {path}/config.json")
            done = True
        if done:
            found.append(summary.load(path / "evaluation.json"))
    return found


def success_rows(*, learn: bool) -> list[Row]:
    """Success per skill, the controls and the splits of the preset, pooled over seeds."""
    from sinew.evaluate.rates import find
    from sinew.evaluate.summary import pool_runs

    runs = evaluations(cells()["preset"], SEEDS, learn=learn)
    command = f"sinew train tabletop --seeds {len(SEEDS)}"
    if not runs:
        return [Row("success on seen states", None, "%", ">= 95", command=command)]
    rates = pool_runs(runs)
    seeds = ", ".join(str(run.seed) for run in runs)

    def row(what: str, rate: Any, bar: str, ok: bool | None) -> Row:  # noqa: ANN401, FBT001
        value, low, high = (round(100 * number, 1) for number in (rate.rate, rate.low, rate.high))
        return Row(what, value, "%", bar, ok, rate.n, low, high, seeds, command)

    rows: list[Row] = []
    for skill in SKILLS:
        rate = find(rates, skill)
        assert rate is not None
        whole = len(runs) == len(SEEDS)
        ok = whole and rate.rate >= 0.95 and rate.lowest >= 0.90
        rows.append(
            row(f"{skill}, states never seen (worst seed {100 * rate.lowest:.0f})", rate, ">= 95, worst >= 90", ok)
        )
    seen = find(rates, "all")
    chance = find(rates, "all", control="random")
    other = find(rates, "all", control="other")
    assert seen is not None
    assert chance is not None
    assert other is not None
    rows.append(
        row("another goal named, judged on it", other, f">= {100 * seen.rate - 5:.1f}", other.rate >= seen.rate - 0.05)
    )
    for control, words in (
        ("wrong", "wrong goal named"),
        ("silent", "no instruction"),
        ("blank", "grey images"),
        ("random", "random actions"),
    ):
        rate = find(rates, "all", control=control)
        assert rate is not None
        apart = rate.high <= seen.low - 0.60 and abs(rate.rate - chance.rate) <= 0.05
        rows.append(row(words, rate, f"{100 * chance.rate:.1f} +- 5 and <= {100 * seen.low - 60:.0f}", apart))
    expert = find(rates, "all", control="expert")
    if expert is not None:
        rows.append(row("scripted expert", expert, "", None))
    bars = {"pairs": 0.85, "templates": seen.rate - 0.10, "crowded": None}
    names = {
        "pairs": "unseen colour and shape pairs",
        "templates": "unseen sentences",
        "crowded": "twice the distractors",
    }
    for split, bar in bars.items():
        rate = find(rates, "all", split=split)
        assert rate is not None
        rows.append(
            row(
                names[split],
                rate,
                "" if bar is None else f">= {100 * bar:.1f}",
                None if bar is None else rate.rate >= bar,
            )
        )
    return rows


def ablation_rows(*, learn: bool) -> list[Row]:
    """Success of one-change variants, reported."""
    from sinew.evaluate.rates import find
    from sinew.evaluate.summary import pool_runs

    rows: list[Row] = []
    for name, config in cells().items():
        if name == "preset":
            continue
        runs = evaluations(config, SEEDS, learn=learn)
        if not runs:
            rows.append(Row(name, None, "%", command="python benchmarks/first_run.py --only ablation"))
            continue
        rates = pool_runs(runs)
        every = ", ".join(
            f"{skill} {100 * rate.rate:.0f}" for skill in SKILLS if (rate := find(rates, skill)) is not None
        )
        rate = find(rates, "all")
        assert rate is not None
        value, low, high = (round(100 * number, 1) for number in (rate.rate, rate.low, rate.high))
        seeds = ", ".join(str(run.seed) for run in runs)
        command = "python benchmarks/first_run.py --only ablation"
        rows.append(Row(f"{name} ({every})", value, "%", "", None, rate.n, low, high, seeds, command))
    return rows
