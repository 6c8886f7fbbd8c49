"""Measures the policy of a run: quickly while it trains, thoroughly at the end, again when asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sinew.core import config as configs
from sinew.core.errors import CheckpointError
from sinew.core.files import new_directory, read_json, write_json, write_text
from sinew.core.rundir import RunDir
from sinew.engine.workers import start_workers
from sinew.evaluate import summary
from sinew.evaluate.compare import compare
from sinew.evaluate.plan import plan_quick
from sinew.evaluate.rates import ALL, find
from sinew.evaluate.tables import latex_row, table, to_csv
from sinew.run import RunConfig
from sinew.run.screen import console, counting, heading, say

if TYPE_CHECKING:
    from sinew.core.types import Recipe
    from sinew.engine.checkpoint import Pretrained


class Tryout:
    """Tries the acting policy out during training; the trainer's ``on_eval``.

    Results are kept in ``tryouts.json`` by update, so a resumed run repeats none twice.

    Args:
        config: of the run. rundir: where results go. recipe: whose acting policy is tried.
        pool: processes that act. note: told in one line what the policy can do so far.
    """

    def __init__(
        self,
        config: RunConfig,
        rundir: RunDir,
        recipe: Recipe[Any],
        *,
        pool: Executor,
        note: Callable[[str], None],
    ) -> None:
        self.config, self.rundir, self.recipe, self.pool, self.note = config, rundir, recipe, pool, note
        self.path = rundir.path / "tryouts.json"

    def __call__(self, update: int) -> float | None:
        """Return the success rate over all tasks after this many updates."""
        place = self.rundir.path / ".tryout"
        with new_directory(place) as temporary:
            cast("Pretrained", self.recipe.acting()).save_pretrained(temporary)
        settings = self.config.evaluate
        listings = plan_quick(self.config.env.build(1), settings)
        found = summary.evaluate(
            str(place), self.config.env, settings, listings=listings, pool=self.pool, seed=self.config.seed
        )
        rates = found.rates()
        known: dict[str, Any] = read_json(self.path) if self.path.exists() else {}
        known[str(update)] = [configs.to_dict(rate) for rate in rates]
        write_json(self.path, {key: known[key] for key in sorted(known, key=int)})
        words = ", ".join(f"{rate.task} {rate.successes}/{rate.n}" for rate in rates if rate.task != ALL)
        self.note(f"{100 * update // self.config.loop.updates} % trained, it can: {words}")
        total = find(rates, ALL)
        return None if total is None else total.rate


def measure(config: RunConfig, rundir: RunDir, pool: Executor) -> summary.Evaluation:
    """Measure the last checkpoint of a run in full and keep the record beside a CSV and a row of LaTeX."""
    heading("Evaluation")
    found = measure_policy(rundir.checkpoints / "last", config, pool)
    keep(found, rundir.path, config.name)
    return found


def measure_policy(directory: Path, config: RunConfig, pool: Executor) -> summary.Evaluation:
    """Run the whole table for one policy directory."""
    with counting("episodes") as count:
        found = summary.evaluate(
            str(directory), config.env, config.evaluate, pool=pool, seed=config.seed, progress=count
        )
    say(f"  {found.num_episodes} episodes in {found.seconds:.0f} s, {found.episodes_per_s:.0f} a second")
    return found


def keep(found: summary.Evaluation, path: Path, name: str) -> None:
    """Write evaluation.json, .csv and .tex into a directory."""
    write_text(path / "evaluation.csv", to_csv(found.rates()))
    write_text(path / "evaluation.tex", latex_row(name, found.rates()) + "\n")
    summary.save(found, path / "evaluation.json")


def measure_again(path: Path, *, episodes: int | None, against: Path | None) -> None:
    """Measure a run or checkpoint once more and print the table; with ``against``, compare two state by state.

    Nothing in the run directory changes; a table asked for with other numbers is printed only.
    """
    policy, config = policy_and_config(path)
    if episodes is not None:
        changed = dataclasses.replace(config.evaluate, episodes=episodes, extra=min(episodes, config.evaluate.extra))
        config = dataclasses.replace(config, evaluate=changed)
    other = None if against is None else policy_and_config(against)
    with start_workers(config.workers) as pool:
        found = measure_policy(policy, config, pool)
        if other is not None:
            plain = dataclasses.replace(config, evaluate=dataclasses.replace(config.evaluate, controls=False))
            theirs = measure_policy(other[0], plain, pool)
            for line in compare(found.cells, theirs.cells):
                say(f"  {line}")
    console.print(table(found.rates()))


def policy_and_config(path: Path) -> tuple[Path, RunConfig]:
    """Return the policy directory that a run or checkpoint path means, and its run's configuration.

    Raises:
        CheckpointError: there is no policy, or no run around it.
    """
    policy = next(
        (place for place in (path, path / "checkpoints" / "last") if (place / "model.safetensors").exists()), None
    )
    if policy is None:
        raise CheckpointError(f"{path}: no policy here yet. Name a run that has trained, or one of its checkpoints.")
    for place in (path, *path.absolute().parents):
        if (place / "state.json").exists():
            return policy, configs.load(RunConfig, place / "config.json")
    raise CheckpointError(f"{path}: no run's config.json above it. Name a checkpoint inside its run directory.")
