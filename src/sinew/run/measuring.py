"""Measures the policy of a run: quickly while it trains, thoroughly at the end, again when asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sinew.core import config as configs
from sinew.core.errors import CheckpointError, ConfigError
from sinew.core.files import new_directory, read_json, write_json, write_text
from sinew.core.rundir import RunDir
from sinew.deploy.artefact import is_artefact, read_manifest
from sinew.deploy.load import checkpoint_of
from sinew.engine.distributed import world
from sinew.engine.workers import start_workers
from sinew.envs.config import AnyEnvConfig
from sinew.evaluate import success, summary
from sinew.evaluate.compare import compare, compared_lines
from sinew.evaluate.plan import plan_quick
from sinew.evaluate.probe import probe
from sinew.evaluate.rates import ALL
from sinew.evaluate.shielded import Shielded, shield_listings, shield_table
from sinew.evaluate.tables import latex_row, table, to_csv
from sinew.run import RunConfig
from sinew.run.diagnosing import scores
from sinew.run.screen import console, counting, heading, say
from sinew.safety.limits import RAMP_S, ShieldLimits, limits_from_spec, load_limits
from sinew.safety.shield import Shield

if TYPE_CHECKING:
    from rich.table import Table
    from torch import nn

    from sinew.core.types import ChunkPolicy, Policy, Recipe, RobotSpec
    from sinew.data.windows import Windows
    from sinew.engine.checkpoint import Pretrained


class Tryout:
    """Tries the acting policy out during training; the trainer's ``on_eval``.

    Results are kept in ``tryouts.json`` by update, so a resumed run repeats none twice.

    Args:
        config: of the run. rundir: where results go. recipe: whose acting policy is tried.
        pool: processes that act. note: told in one line what the policy can do so far.
        training: windows of what it learns from, held_out: of what it never sees, for what it makes of recorded
            observations, see ``probe``; None where it learns from no recordings.
    """

    def __init__(
        self,
        config: RunConfig,
        rundir: RunDir,
        recipe: Recipe[Any],
        *,
        pool: Executor,
        note: Callable[[str], None],
        training: Windows | None = None,
        held_out: Windows | None = None,
    ) -> None:
        self.config, self.rundir, self.recipe, self.pool, self.note = config, rundir, recipe, pool, note
        self.training, self.held_out = training, held_out
        self.path = rundir.path / "tryouts.json"

    def __call__(self, update: int) -> dict[str, float]:
        """Return success rates after this many updates, over all tasks as "score", and what ``probe`` finds."""
        place = self.rundir.path / ".tryout"
        policy = self.recipe.acting()  # which ranks that share the weights gather together
        if not world().is_main:
            return {}
        with new_directory(place) as temporary:
            cast("Pretrained", policy).save_pretrained(temporary)
        settings = self.config.evaluate
        listings = plan_quick(self.config.world.build(1), settings)
        found = summary.evaluate(
            str(place), self.config.world, settings, listings=listings, pool=self.pool, seed=self.config.seed
        )
        rates = found.rates()
        known: dict[str, Any] = read_json(self.path) if self.path.exists() else {}
        known[str(update)] = [configs.to_dict(rate) for rate in rates]
        write_json(self.path, {key: known[key] for key in sorted(known, key=int)})
        words = ", ".join(f"{rate.task} {rate.successes}/{rate.n}" for rate in rates if rate.task != ALL)
        self.note(f"{100 * update // self.config.loop.updates} % trained, it can: {words}")
        return {**scores(rates), **self._probed(policy)}

    def _probed(self, policy: nn.Module) -> dict[str, float]:
        if self.training is None:
            return {}
        execute, seed = self.config.policy.execute, self.config.seed
        return probe(cast("ChunkPolicy", policy), self.training, self.held_out, execute=execute, seed=seed)


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
            opened(directory), config.world, config.evaluate, pool=pool, seed=config.seed, progress=count
        )
    say(f"  {found.num_episodes} episodes in {found.seconds:.0f} s, {found.episodes_per_s:.0f} a second")
    return found


def opened(directory: Path) -> str | Policy:
    """Return what the evaluation takes for a directory: a checkpoint's name, or the engine of an artefact."""
    if is_artefact(directory):
        from sinew.deploy.infer import VLAInferenceEngine

        return VLAInferenceEngine(directory)
    return str(directory)


def keep(found: summary.Evaluation, path: Path, name: str) -> None:
    """Write evaluation.json, .csv and .tex into a directory."""
    write_text(path / "evaluation.csv", to_csv(found.rates()))
    write_text(path / "evaluation.tex", latex_row(name, found.rates()) + "\n")
    summary.save(found, path / "evaluation.json")


def measure_again(
    path: Path,
    *,
    episodes: int | None,
    against: Path | None,
    env: AnyEnvConfig | None = None,
    tasks: tuple[str, ...] | None = None,
    shield: str | None = None,
) -> None:
    """Measure a run or checkpoint once more and print the table; with ``against``, compare two state by state.

    Nothing in the run directory changes; a table asked for with other numbers is printed only. A run that knows no
    world is measured on its recordings, or in the world given.

    Args:
        path: run or checkpoint.
        episodes: per task; None means what the run was configured with.
        against: another one.
        env: a world instead of the run's own, with the same robot.
        tasks: of the world, those to measure; None means what the run was configured with.
        shield: what limits a shield has that it is measured behind too, see ``shield_limits``.

    Raises:
        ConfigError: there is no world for what shall be measured in one.
    """
    policy, config = policy_and_config(path)
    if config.env is None and env is None:
        asked = {"--episodes": episodes, "--tasks": tasks, "--shield or --limits": shield}
        _recorded_again(
            [path] if against is None else [path, against], [flag for flag, value in asked.items() if value is not None]
        )
        return
    chosen = dataclasses.replace(config.evaluate, tasks=tasks or config.evaluate.tasks)
    config = dataclasses.replace(config, env=env or config.env, evaluate=chosen)
    if episodes is not None:
        changed = dataclasses.replace(config.evaluate, episodes=episodes, extra=min(episodes, config.evaluate.extra))
        config = dataclasses.replace(config, evaluate=changed)
    other = None if against is None else policy_and_config(against)
    limits = shield_limits(shield, config.world.build(1).spec)
    with start_workers(config.workers) as pool:
        found = measure_policy(policy, config, pool)
        if other is not None:
            plain = dataclasses.replace(config, evaluate=dataclasses.replace(config.evaluate, controls=False))
            theirs = measure_policy(other[0], plain, pool)
            for line in compared_lines(str(path), str(against), compare(found.cells, theirs.cells)):
                say(f"  {line}")
        printed = [table(found.rates()), *behind_shield(found, policy, config, limits, pool)]
    for part in printed:
        console.print(part)


def _recorded_again(paths: list[Path], flags: list[str]) -> None:
    """Measure runs on their recordings; ``flags`` that need a world are refused."""
    from sinew.run import offline

    exported = [str(path) for path in paths if is_artefact(path)]
    if exported:
        raise ConfigError(f"{', '.join(exported)}: an artefact is measured in a world. Name one: --env NAME")
    if flags:
        raise ConfigError(
            f"{paths[0]}: was trained on recordings and knows no world; this needs one: {', '.join(flags)}. "
            "Name it: --env NAME. Without them its held-out errors are measured."
        )
    for path in paths:
        offline.measure_again(*policy_and_config(path))


def shield_limits(shield: str | None, spec: RobotSpec) -> ShieldLimits | None:
    """Return the limits that a robot shall be shielded with.

    Args:
        shield: a file; "auto" for those of its spec; a number, such as "0.1", for those of its spec with so many
            seconds from rest to full speed.
        spec: of the robot.

    Raises:
        ConfigError: the limits are wrong, do not fit the robot or cannot be derived from it.
        SpecError: such a robot cannot be shielded.
    """
    if shield is None:
        return None
    try:
        limits = limits_from_spec(spec, ramp_s=RAMP_S if shield == "auto" else float(shield))
    except ValueError:
        limits = load_limits(Path(shield))
    Shield(limits, spec)
    return limits


def behind_shield(
    found: summary.Evaluation, policy: Path, config: RunConfig, limits: ShieldLimits | None, pool: Executor
) -> list[Table]:
    """Measure a policy once more behind a shield, and return the table of what that costs; nothing without limits."""
    if limits is None:
        return []
    measured, listings = Shielded(opened(policy), limits), shield_listings(found.cells)
    rows, seed = config.evaluate.rows, config.seed
    with counting("episodes behind the shield") as count:
        cells = success.measure(measured, config.world, listings, rows=rows, pool=pool, seed=seed, progress=count)
    return [shield_table(found.cells, cells)]


def policy_and_config(path: Path) -> tuple[Path, RunConfig]:
    """Return the policy directory that a run or checkpoint path means, and its run's configuration.

    An artefact means itself, with the world that its policy was trained in.

    Raises:
        CheckpointError: there is no policy, or no run around it.
    """
    if is_artefact(path):
        source = read_manifest(path).source
        world = source.get("world")
        env = None if world is None else configs.from_dict(AnyEnvConfig, world, f"{path}: the world")
        return path, RunConfig(name=str(source.get("run")), env=env)
    policy = checkpoint_of(path)
    for place in (path, *path.absolute().parents):
        if (place / "state.json").exists():
            return policy, configs.load(RunConfig, place / "config.json")
    raise CheckpointError(f"{path}: no run's config.json above it. Name a checkpoint inside its run directory.")
