"""Training that improves a policy by what succeeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING

from sinew.core.rundir import RunDir
from sinew.engine import runcard
from sinew.engine.distributed import in_turn, world
from sinew.engine.progress import Progress, clock
from sinew.engine.trainer import Trainer
from sinew.models.device import pick_device
from sinew.models.policy import VLAPolicy
from sinew.recipes.config import GrpoConfig
from sinew.recipes.group_rounds import GroupRounds
from sinew.recipes.grpo import Grpo
from sinew.run.following import followed
from sinew.run.measuring import Tryout
from sinew.run.screen import console, heading, say
from sinew.run.start import keep_start

if TYPE_CHECKING:
    from sinew.run import RunConfig


def build(config: RunConfig, rundir: RunDir, *, pool: Executor, note: Callable[[str], None]) -> Grpo:
    """Return the recipe with the policy it improves, ready for the trainer."""
    assert isinstance(config.recipe, GrpoConfig)
    device = pick_device(config.device)
    start = in_turn(partial(keep_start, config, rundir))
    policy = VLAPolicy.from_pretrained(start, device=str(device), config=config.policy)
    gather = GroupRounds(
        config.world, config.recipe, config.policy.execute, rundir.data, config.seed, pool=pool, note=note
    )
    return Grpo(
        policy, gather, config.recipe, config.optim, updates=config.loop.updates, seed=config.seed, device=device
    )


def improve(config: RunConfig, rundir: RunDir, *, command: str, pool: Executor) -> None:
    """Improve to the end, trying the policy out on the way."""
    assert isinstance(config.recipe, GrpoConfig)
    heading("Improving")
    with Progress(config.loop.updates, console=console) as progress, followed(config, rundir, progress) as on_log:
        recipe = build(config, rundir, pool=pool, note=progress.note)
        plan = runcard.Plan(
            purpose=f"{config.name}: {config.recipe.start}, improved by what succeeds.",
            command=command,
            config=config,
            data={"episodes per update": config.recipe.scenes * config.recipe.group, "updates": config.loop.updates},
            risks=tuple(risks(config)),
        )
        if world().is_main:
            runcard.start(rundir, plan, recipe.modules)
        tryout = Tryout(config, rundir, recipe, pool=pool, note=progress.note)
        trainer = Trainer(
            recipe, config.loop, rundir, seed=config.seed, on_eval=tryout, on_log=on_log, on_note=progress.note
        )
        state = trainer.run()
    say(f"  {config.loop.updates} updates in {clock(state.elapsed_s)}")


def risks(config: RunConfig) -> Iterator[str]:
    """Yield what may go wrong with a run of improvement, in sentences."""
    yield "A start that never succeeds, or always does, shows no differences: then nothing is learned ('kept' stays 0)."
    yield "Tasks that are not among those it acts in may be forgotten; the table tells."
    if config.optim.ema > 0:
        yield "Averaged weights lag behind the few updates of such a run; --optim.ema 0 keeps none."
