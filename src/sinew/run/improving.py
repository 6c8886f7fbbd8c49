"""Training that improves a policy by what succeeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING

from sinew.core.rundir import RunDir
from sinew.engine import runcard
from sinew.engine.checkpoint import unheard
from sinew.engine.distributed import in_turn
from sinew.engine.progress import clock
from sinew.engine.risks import Risk
from sinew.engine.trainer import Trainer
from sinew.models.device import pick_device
from sinew.models.policy import VLAPolicy
from sinew.recipes.config import GrpoConfig
from sinew.recipes.group_rounds import GroupRounds
from sinew.recipes.grpo import Grpo
from sinew.run.following import followed
from sinew.run.measuring import Tryout
from sinew.run.preflight import Flight, Sheet, begin, progress_of
from sinew.run.screen import heading, say
from sinew.run.start import keep_start
from sinew.run.waits import of_world

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
    foreseen = begin(flight(config, command, pool), rundir)
    with progress_of(config, foreseen) as progress, runcard.kept(rundir), followed(config, rundir, progress) as on_log:
        recipe = build(config, rundir, pool=pool, note=progress.note)
        tryout = Tryout(config, rundir, recipe, pool=pool, note=progress.note)
        trainer = Trainer(
            recipe, config.loop, rundir, seed=config.seed, on_eval=tryout, on_log=on_log, on_note=progress.note
        )
        state = trainer.run()
    say(f"  {config.loop.updates} updates in {clock(state.elapsed_s)}")


def flight(config: RunConfig, command: str, pool: Executor) -> Flight:
    """Return the run as it is to be foreseen."""
    recipe = config.recipe
    assert isinstance(recipe, GrpoConfig)
    counts = {"episodes per update": recipe.scenes * recipe.group, "updates": config.loop.updates}
    spec = config.world.build(1).spec
    checked = (f"no data: episodes are acted in the world, whose robot ({spec.embodiment}) is the policy's",)
    return Flight(
        config=config,
        command=command,
        purpose=f"{config.name}: {recipe.start}, improved by what succeeds.",
        sheet=lambda: Sheet(counts, checked, tuple(risks(config))),
        spec=spec,
        build=lambda place: build(config, place, pool=pool, note=unheard),
        waits=lambda recipe: of_world(config, recipe, 0.0),
    )


def risks(config: RunConfig) -> Iterator[Risk]:
    """Yield what may go wrong with a run of improvement."""
    yield Risk(
        "high",
        "A start that never succeeds, or always does, shows no differences: then nothing is learned.",
        "Begin with a policy that succeeds in a tenth to nine tenths of its episodes.",
        "'kept' stays at 0 in metrics.jsonl: name other tasks with --recipe.mix, or another start with --from.",
    )
    yield Risk(
        "high",
        "Tasks that are not among those it acts in may be forgotten.",
        "Keep a share of every task in --recipe.mix.",
        "The table tells; the policy one began with is still there: --from.",
    )
    if config.optim.ema > 0:
        yield Risk(
            "high",
            "Averaged weights lag behind the few updates of such a run.",
            "--optim.ema 0 keeps none.",
            "Train again without; the run's own rounds show what the weights themselves do.",
        )
