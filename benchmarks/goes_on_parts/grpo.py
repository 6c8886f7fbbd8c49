"""Measures when reinforcement learning pays: from a weak start and a saturated one, against more imitation.

What is practised, and measured, are two skills that imitation leaves half learned; all four are in the notes.
Learning cells are ordinary runs below ``runs/goes_on``; the same command goes on where it was stopped.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rows import ROOT, Row

from sinew import run
from sinew.core.types import Cursor
from sinew.data.collect import collect
from sinew.data.config import CollectConfig
from sinew.engine.config import LoopConfig
from sinew.evaluate import summary
from sinew.evaluate.rates import ALL, Rate, find, rates
from sinew.models.config import AnyHeadConfig, FlowHeadConfig, GaussianHeadConfig
from sinew.presets import PRESETS
from sinew.recipes.config import BcConfig, GrpoConfig
from sinew.recipes.group_rounds import GroupRounds
from sinew.recipes.grpo import Grpo
from sinew.run import RunConfig
from sinew.run.parts import build_policy, run_path
from sinew.run.start import start_from

RUNS = ROOT / "runs" / "goes_on"
COMMAND = "python benchmarks/goes_on.py --only grpo"
SEEDS = (0, 1, 2)
DEMONSTRATIONS = 100
"""Episodes that are imitated: few, so that what they lack is how to act."""
STILLS = 4000
"""Scenes seen for one tick beside them, which teach what the words mean."""
HEADS: dict[str, AnyHeadConfig] = {"gaussian": GaussianHeadConfig(), "flow": FlowHeadConfig(steps=4)}
WEAK = {"gaussian": 600, "flow": 1200}
"""Updates of imitation after which a policy is weak."""
SATURATED = 5000
"""Updates of imitation after which more of them change little."""
PRACTISED = ("lift", "place")
"""Skills that are practised. Touching is learned by then, and pushing gains little (docs/grpo.md)."""
EPOCHS = {"gaussian": 6, "flow": 4}
"""Passes over the decisions of a round."""
ROUNDS = {"gaussian": 56, "flow": 40}
"""Rounds of practice, as many as fit the time."""
MINUTES = 8.0
"""Most CPU time of reinforcement learning."""


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (the scripts' signature)
    """Measure one bar after the other; ``quick`` learns nothing and shows what is on disk."""
    for head in HEADS:
        yield from _scores(head)
    for head in HEADS:
        yield from _weak(head, learn=not quick)
    yield from _shuffled(learn=not quick)
    yield from _saturated(learn=not quick)


# ------------------------------------------------------------------------------------- the scores


def _scores(head: str) -> Iterator[Row]:
    """Act with a policy on the table-top, and score its draws again by other weights in memory and other batches."""
    base = _imitation(head, updates=1, seed=0)
    torch.set_num_threads(1)
    worst: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        store = collect(Path(place) / "store", base.world, CollectConfig(episodes=12, group=6, held_out=0.0), seed=0)
        for train in ("head", "all"):
            policy = build_policy(dataclasses.replace(base, device="cpu"), store).eval()
            config = GrpoConfig(scenes=8, group=4, train=train)
            gather = GroupRounds(base.world, config, 4, Path(place) / train, 0)
            batch = next(Grpo(policy, gather, config, base.optim, updates=1, seed=0).batches(Cursor()))
            with torch.no_grad():
                again = torch.cat([policy.log_prob(part.obs, part.trace) for part in _parts(batch)])
            worst[train] = float((again - batch.log_prob)[batch.mask].abs().max())
    for train, value in worst.items():
        what = f"{head}: stored against recomputed log-probability, training {train}, untrained policy"
        yield Row(what, value, "", "<= 1e-5", value <= 1e-5, int(batch.mask.sum()), command=COMMAND)
    ratio = max(abs(float(torch.tensor(value).expm1())) for value in worst.values())
    yield Row(f"{head}: largest |ratio - 1| on the first epoch", ratio, "", "<= 1e-5", ratio <= 1e-5, command=COMMAND)


def _parts(batch: Any) -> Iterator[Any]:  # noqa: ANN401  (an RLBatch)
    from sinew.recipes.grpo import take

    for rows_of_part in torch.arange(batch.num_rows).split(100):
        yield take(batch, rows_of_part)


# -------------------------------------------------------------------------------------- the cells


def _imitation(head: str, *, updates: int, seed: int) -> RunConfig:
    """Behaviour cloning on few demonstrations, executed as the preset does."""
    base = PRESETS["tabletop"]("small")
    return dataclasses.replace(
        base,
        name=f"imitated-{head}",
        seed=seed,
        policy=dataclasses.replace(base.policy, head=HEADS[head]),
        collect=dataclasses.replace(base.collect, episodes=DEMONSTRATIONS, stills=STILLS),
        recipe=getattr(base.recipe, "inner", BcConfig()),
        loop=LoopConfig(updates=updates, eval_at=()),
        evaluate=dataclasses.replace(base.evaluate, episodes=50, extra=25, videos=1),
    )


def _improvement(head: str, start: Path, *, seed: int, shuffle: bool = False) -> RunConfig:
    """GRPO on the practised skills, every episode from its beginning, from a finished run."""
    base = PRESETS["tabletop-grpo"]("small")
    base = dataclasses.replace(
        base,
        seed=seed,
        recipe=GrpoConfig(shuffle=shuffle, mix=dict.fromkeys(PRACTISED, 1.0), epochs=EPOCHS[head]),
        loop=dataclasses.replace(base.loop, updates=ROUNDS[head], eval_at=()),
        evaluate=dataclasses.replace(base.evaluate, episodes=50, extra=25, videos=1),
    )
    found = start_from(base, start)
    return dataclasses.replace(found, env=dataclasses.replace(found.env, mid_starts=0.0))


def _done(config: RunConfig, *, learn: bool) -> Path | None:
    """Return the finished run of a configuration, trained now if allowed; None where there is none."""
    path = run_path(config, RUNS)
    state = path / "state.json"
    if state.exists() and json.loads(state.read_text())["phase"] == "done":
        return path
    if not learn:
        return None
    run.train(config, root=RUNS, command=COMMAND)
    return path


def _cpu_minutes(path: Path) -> float:
    """Return the CPU time of a run's training, worker processes included [min]."""
    return json.loads((path / "timings.json").read_text())["phases"]["train"]["cpu_s"] / 60


def _equal_updates(start: Path, improved: Path, updates: int) -> int:
    """Return how many updates of imitation take the CPU time of the start and its improvement together.

    The number is kept, as it decides where the run lies.
    """
    kept = improved / "equal_updates.json"
    if not kept.exists():
        more = updates * (1 + _cpu_minutes(improved) / _cpu_minutes(start))
        kept.write_text(json.dumps(round(more, -2)))
    return int(json.loads(kept.read_text()))


@dataclasses.dataclass(frozen=True)
class Trio:
    """A start, what reinforcement learning made of it, and imitation for the same CPU time; a run a seed."""

    start: list[Path]
    improved: list[Path]
    imitated: list[Path]


def _trio(head: str, updates: int, *, learn: bool, seeds: tuple[int, ...] = SEEDS) -> Trio:
    found = Trio([], [], [])
    for seed in seeds:
        start = _done(_imitation(head, updates=updates, seed=seed), learn=learn)
        improved = None if start is None else _done(_improvement(head, start, seed=seed), learn=learn)
        if start is None or improved is None:
            continue
        more = _equal_updates(start, improved, updates)
        imitated = _done(_imitation(head, updates=more, seed=seed), learn=learn)
        found.start.append(start)
        found.improved.append(improved)
        found.imitated.extend([] if imitated is None else [imitated])
    return found


# --------------------------------------------------------------------------------------- the rows


def _rate(paths: list[Path], tasks: tuple[str, ...] = PRACTISED, control: str = "none") -> Rate | None:
    if not paths:
        return None
    found = [summary.load(path / "evaluation.json").cells for path in paths]
    return find(rates([[cell for cell in cells if cell.task in tasks] for cells in found]), ALL, control=control)


def _row(what: str, paths: list[Path], bar: str = "", ok: bool | None = None, control: str = "none") -> Row:  # noqa: FBT001
    rate = _rate(paths, control=control)
    if rate is None:
        return Row(what, None, "%", bar, command=COMMAND)
    numbers = [round(100 * value, 1) for value in (rate.rate, rate.low, rate.high)]
    seeds = ", ".join(str(json.loads((path / "config.json").read_text())["seed"]) for path in paths)
    minutes = max(_cpu_minutes(path) for path in paths)
    skills = {task: _rate(paths, (task,), control) for task in PRESETS["tabletop"]("small").env.build(1).tasks}
    note = ", ".join(f"{task} {100 * found.rate:.0f}" for task, found in skills.items() if found is not None)
    note += f"; training at most {minutes:.1f} CPU-minutes"
    return Row(what, numbers[0], "%", bar, ok, rate.n, numbers[1], numbers[2], seeds, COMMAND, note)


def _weak(head: str, *, learn: bool) -> Iterator[Row]:
    """From a weak policy: at least 25 points, intervals apart, beside the same CPU time of imitation."""
    cells = _trio(head, WEAK[head], learn=learn)
    start, improved = _rate(cells.start), _rate(cells.improved)
    yield _row(f"{head}, weak start", cells.start, "10 to 60", start and 0.1 <= start.rate <= 0.6)
    ok = None
    if start and improved:
        ok = len(cells.improved) == len(SEEDS) and improved.rate >= start.rate + 0.25 and improved.low > start.high
    yield _row(f"{head}, improved by GRPO", cells.improved, ">= start + 25, intervals apart", ok)
    spent = max((_cpu_minutes(path) for path in cells.improved), default=None)
    minutes = None if spent is None else round(spent, 1)
    within = None if spent is None else spent <= MINUTES
    yield Row(f"{head}, CPU time of GRPO", minutes, "min", f"<= {MINUTES:g}", within, command=COMMAND)
    yield _row(f"{head}, imitation for the same CPU time", cells.imitated)
    yield _row(f"{head}, weak start, wrong goal named", cells.start, control="wrong")
    wrong = _rate(cells.improved, control="wrong")
    yield _row(f"{head}, improved, wrong goal named", cells.improved, "<= 1", wrong and wrong.rate <= 0.01, "wrong")
    yield _row(f"{head}, imitation for the same CPU time, wrong goal named", cells.imitated, control="wrong")


def _shuffled(*, learn: bool) -> Iterator[Row]:
    """Episodes paid with each other's returns teach nothing."""
    starts, shuffled = [], []
    for seed in SEEDS:
        start = _done(_imitation("gaussian", updates=WEAK["gaussian"], seed=seed), learn=learn)
        path = None if start is None else _done(_improvement("gaussian", start, seed=seed, shuffle=True), learn=learn)
        if start is not None and path is not None:
            starts.append(start)
            shuffled.append(path)
    before, after = _rate(starts), _rate(shuffled)
    ok = before and after and after.rate <= before.rate + 0.05
    yield _row("gaussian, GRPO with shuffled returns", shuffled, "<= weak start + 5", ok)


def _saturated(*, learn: bool) -> Iterator[Row]:
    """On top of imitation that has run its course: GRPO against still more imitation."""
    cells = _trio("gaussian", SATURATED, learn=learn, seeds=SEEDS[:1])
    yield _row("gaussian, saturated imitation", cells.start)
    yield _row("gaussian, saturated, improved by GRPO", cells.improved)
    yield _row("gaussian, saturated, imitation for the same CPU time", cells.imitated)
