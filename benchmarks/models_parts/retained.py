"""What a vision-language model still answers after it learned to move a robot: alone, beside conversations, insulated.

A base model is taught once for each seed, with fewer updates than preset vlm and on scenes of one and two things. Every
arm begins with it and takes the same number of updates on the same windows: only the conversations beside them and the
stop of the gradient differ. Cells are runs below ``runs/bench``: finished ones are found again, unfinished ones go on.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rows import ROOT, Row

from sinew.core.config import from_dict, to_dict
from sinew.core.files import write_json
from sinew.core.rundir import RunDir
from sinew.data.collect import collect
from sinew.data.config import CollectConfig
from sinew.data.stills import collect_stills
from sinew.data.windows import Windows
from sinew.engine.config import LoopConfig
from sinew.engine.workers import start_workers
from sinew.envs.tabletop.config import TabletopConfig
from sinew.evaluate.intervals import wilson
from sinew.evaluate.offline import OfflineError, action_error
from sinew.evaluate.retained import Retention
from sinew.models.config import FlowHeadConfig, GroundingConfig, PolicyConfig
from sinew.models.encoder_config import LmFusionConfig
from sinew.models.policy import VLAPolicy
from sinew.models.speaking import speaker_of
from sinew.models.vlm_config import CausalConfig, StemConfig, VlmConfig
from sinew.presets.size import sized_optim
from sinew.presets.three_stage import body_stages
from sinew.presets.vlm import embedded_stages
from sinew.recipes.bc import to_device
from sinew.recipes.config import AnyStageRecipe, BcConfig, CotrainConfig
from sinew.run import RunConfig, train
from sinew.run.bodies import Body, WorldBody
from sinew.run.clock import Clock
from sinew.run.embodying import embody
from sinew.run.parts import run_path, stills_path, store_path
from sinew.run.stages import Stage, TextsConfig

NAME = "retained-base"
"""Of all runs, so that they share scenes and recordings."""
RUNS = ROOT / "runs" / "bench"
COMMAND = "python benchmarks/models.py --only retained"
SEEDS = (0, 1, 2)
WORLD = TabletopConfig(image_size=72, colours=6, objects=2)
SKILLS = {"touch": 1.0, "lift": 1.0, "place": 1.0, "push": 1.0}
DEMONSTRATIONS = CollectConfig(episodes=240, mix=SKILLS, stills=1000)
TEXTS = TextsConfig(scenes=6000, exam=100, blind=0)
SHARE = 0.75
"""Of the updates of preset vlm, for the model that all arms begin with; its scenes have fewer things."""
UPDATES, BATCH, RATIO = 400, 16, 0.5
LEAST = 0.9


@dataclasses.dataclass(frozen=True)
class Measured(WorldBody):
    """The robot of the world, measured on held-out demonstrations in place of episodes and films."""

    def tryout(self, rundir: RunDir, recipe: Any, note: Callable[[str], None]) -> Callable[[int], None]:  # noqa: ANN401
        """Return what tries nothing."""
        del rundir, recipe, note
        return lambda _update: None

    def measure(self, rundir: RunDir) -> None:
        """Keep how far off held-out actions are."""
        policy = VLAPolicy.from_pretrained(rundir.checkpoints / "last")
        shape = policy.config
        windows = Windows([self.stores[0]], history=shape.history, horizon=shape.horizon, held_out=True)
        write_json(rundir.path / "imitated.json", to_dict(action_error(policy, windows, frames=512)))

    def write(self, rundir: RunDir, *, command: str, timer: Clock) -> None:
        """Write no report."""
        del rundir, command, timer


def arms() -> dict[str, tuple[AnyStageRecipe, bool]]:
    """Return how each arm learns, and whether its head is insulated."""
    robot = BcConfig(batch=BATCH)
    web = CotrainConfig(robot=robot, ratio=RATIO, apart=6, balance="answer")
    return {"naive": (robot, False), "co-trained": (web, False), "co-trained and insulated": (web, True)}


def base_config(seed: int) -> RunConfig:
    """Return the run that teaches the model which every arm begins with."""
    stages = tuple(
        dataclasses.replace(stage, updates=round(SHARE * stage.updates))
        for stage in embedded_stages(sized_optim("small").lr)
    )
    loop = LoopConfig(updates=sum(stage.updates for stage in stages), eval_at=())
    model = VlmConfig(
        vision=StemConfig(width=96, layers=2), language=CausalConfig(width=96, layers=4, hidden=256), max_tokens=320
    )
    return RunConfig(name=NAME, seed=seed, device="cpu", env=WORLD, vlm=model, texts=TEXTS, stages=stages, loop=loop)


def arm_config(recipe: AnyStageRecipe, begin: Path, seed: int, *, insulate: bool) -> RunConfig:
    """Return the run of an arm on a base model."""
    optim = body_stages(sized_optim("small").lr)[0].optim
    return RunConfig(
        name=NAME,
        seed=seed,
        device="cpu",
        workers=1,
        env=WORLD,
        collect=DEMONSTRATIONS,
        policy=PolicyConfig(
            fusion=LmFusionConfig(),
            head=FlowHeadConfig(width=96, expert="joint", insulate=insulate),
            grounding=GroundingConfig(points=(("target", 3), ("goal", 2))),
            width=96,
        ),
        recipe=BcConfig(),
        vlm=VlmConfig(path=str(begin)),
        texts=dataclasses.replace(TEXTS, exam=60),
        stages=(Stage("2 co-train", UPDATES, recipe, optim),),
        loop=LoopConfig(updates=UPDATES, save_every=100, eval_at=()),
    )


def base(seed: int, *, learn: bool) -> Path | None:
    """Return the directory of a seed's base model, taught now with ``learn``; None where there is none."""
    config = base_config(seed)
    if not learn and not done(run_path(config, RUNS / "full")):
        return None
    (path,) = train(config, root=RUNS / "full", command=COMMAND)
    return path / "checkpoints" / "last"


def cell(name: str, seed: int, *, learn: bool) -> Path | None:
    """Return the directory of an arm's run, trained now with ``learn``; None where it is not finished."""
    begin = base(seed, learn=learn)
    if begin is None:
        return None
    recipe, insulate = arms()[name]
    config, root = arm_config(recipe, begin, seed, insulate=insulate), RUNS / "full"
    rundir = RunDir(run_path(config, root))
    if not done(rundir.path):
        if not learn:
            return None
        with rundir, start_workers(1) as pool:
            rundir.claim(config)
            timer = Clock(rundir.path / "timings.json")
            embody(config, rundir, partial(robot, config, root, pool), root=root, command=COMMAND, timer=timer)
    return rundir.path


def robot(config: RunConfig, root: Path, pool: Any) -> Body:  # noqa: ANN401  (an executor)
    """Return the robot, recorded now if it was not before; all arms of a seed share the recordings."""
    demonstrations = collect(store_path(config, root), config.world, config.collect, seed=config.seed, pool=pool)
    stills = collect_stills(stills_path(config, root), config.world, config.collect.stills, pool=pool)
    return Measured(config, (demonstrations, stills), pool)


def done(path: Path) -> bool:
    """Return whether a run is finished."""
    state = path / "state.json"
    return state.exists() and json.loads(state.read_text())["phase"] == "done"


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (the signature that all parts share)
    """Yield a few rows an arm, and what reaches the model; what is missing is trained, or left out with ``quick``."""
    for name in arms():
        cells = [(seed, path) for seed in SEEDS if (path := cell(name, seed, learn=not quick)) is not None]
        yield from arm_rows(name, cells)
        if name == "co-trained" and cells:
            yield from gradient_rows(cells[0][1])


def arm_rows(name: str, cells: list[tuple[int, Path]]) -> Iterator[Row]:
    """Yield what an arm keeps of its answers, and how well it imitates."""
    bar = "" if name == "naive" else f">= {100 * LEAST:.0f}"
    what, imitates = f"answers kept above chance, {name}", f"held-out actions off by, {name}"
    if not cells:
        yield Row(what, None, "%", bar, command=COMMAND)
        yield Row(imitates, None, "% of their range", command=COMMAND)
        return
    seeds, several = ", ".join(str(seed) for seed, _ in cells), f"{len(cells)} of {len(SEEDS)} seeds"
    found = [Retention.load(path / "kept-seen.json").total() for _, path in cells]
    count = sum(one.n for one in found)
    chance, before, after = (
        sum(getattr(one, key) * one.n for one in found) / count for key in ("chance", "before", "after")
    )
    kept, low, high = (
        round(100 * (rate - chance) / (before - chance), 1) for rate in (after, *wilson(round(after * count), count))
    )
    note = f"{100 * before:.1f} % before, {100 * after:.1f} % after, chance {100 * chance:.1f} %; {several}"
    ok = None if name == "naive" else kept >= 100 * LEAST
    yield Row(what, kept, "%", bar, ok, count, low, high, seeds, COMMAND, note)
    errors = [from_dict(OfflineError, json.loads((path / "imitated.json").read_text()), name) for _, path in cells]
    off = round(100 * sum(error.score for error in errors) / len(errors), 2)
    deaf = sum(error.alignment or 0.0 for error in errors) / len(errors)
    seconds = [json.loads((path / "timings.json").read_text())["phases"]["train"]["cpu_s"] for _, path in cells]
    note = (
        f"{100 * deaf:.0f} % worse with another sentence; {UPDATES} updates of {BATCH} windows, "
        f"{sum(seconds) / len(seconds):.0f} CPU-seconds; {several}"
    )
    yield Row(imitates, off, "% of their range", n=512 * len(cells), seeds=seeds, command=COMMAND, note=note)


def gradient_rows(path: Path) -> Iterator[Row]:
    """Yield the largest gradient that the flow loss of a trained policy leaves in its model, insulated and not."""
    for insulate in (True, False):
        policy = VLAPolicy.from_pretrained(path / "checkpoints" / "last")
        head: Any = policy.head
        head.insulate = insulate
        store = store_path(arm_config(BcConfig(), path, 0, insulate=insulate), RUNS / "full")
        with start_workers(1) as pool:
            recorded = collect(store, WORLD, DEMONSTRATIONS, seed=0, pool=pool)
        windows = Windows([recorded], history=1, horizon=policy.config.horizon)
        torch.manual_seed(0)
        batch = to_device(windows.gather(torch.arange(BATCH).numpy()), torch.device("cpu"))
        policy.losses(batch)["action"].mean().backward()
        inside = list(speaker_of(policy).parameters())
        largest = max(0.0 if item.grad is None else float(item.grad.abs().max()) for item in inside)
        bar = "exactly 0" if insulate else "> 0"
        yield Row(
            f"largest gradient of the flow loss on the model, insulation {'on' if insulate else 'off'}",
            largest if insulate else round(largest, 6),
            "",
            bar,
            (largest == 0.0) if insulate else largest > 0,
            n=sum(item.numel() for item in inside),
            command=COMMAND,
            note=f"{BATCH} windows; n are the model's weights",
        )
