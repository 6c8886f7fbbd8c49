"""The one place where the parts meet: a full configuration, and what running it means."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sinew.core.errors import ConfigError
from sinew.data.config import CollectConfig, DataConfig
from sinew.engine.config import CostConfig, LoopConfig, OptimConfig
from sinew.envs.config import AnyEnvConfig
from sinew.envs.tabletop.config import TabletopConfig
from sinew.evaluate.config import EvaluateConfig
from sinew.models.config import PolicyConfig
from sinew.models.vlm_config import VlmConfig
from sinew.recipes.config import AnyRecipeConfig, DaggerConfig
from sinew.run.stages import Stage, TextsConfig

if TYPE_CHECKING:
    from pathlib import Path

    from sinew.run.recordings import Recorded


@dataclass(frozen=True)
class InitConfig:
    """Whose weights a training starts from.

    Attributes:
        path: run or checkpoint.
        other_robot: it may be of another robot; then only its eyes and words are taken.
    """

    path: str = ""
    other_robot: bool = False


@dataclass(frozen=True)
class RunConfig:
    """Everything that determines a run.

    Attributes:
        name: of the run directory, ``runs/<name>-<hash>``.
        seed: of every random choice.
        device: auto, cpu, cuda or mps.
        workers: processes for collecting and evaluating; 0 means one per CPU core. Changes no result.
        env: the world that demonstrates and judges; None where recordings are learned from.
        data: the recordings, None where the world demonstrates.
        init: the weights that training starts from, None for random ones.
        track: what follows the training beside metrics.jsonl: tensorboard, wandb, trackio, mlflow, or none. None means
            tensorboard. Changes no result.
        vlm: the vision-language model that is taught, in place of a policy, or that gets a body in later stages.
        texts: the conversations that it is taught by.
        stages: what is taught in which order, in place of ``recipe`` and ``optim``.
        cost: rates for the forecast of energy and money. Changes no result.

    A setting that is None is as if it did not exist: it changes neither a run's hash nor its meaning.
    """

    name: str = "run"
    seed: int = 0
    device: str = "auto"
    workers: int = 0
    env: AnyEnvConfig | None = field(default_factory=TabletopConfig)
    collect: CollectConfig = field(default_factory=CollectConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    recipe: AnyRecipeConfig = field(default_factory=DaggerConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    data: DataConfig | None = None
    init: InitConfig | None = None
    track: tuple[str, ...] | None = None
    vlm: VlmConfig | None = None
    texts: TextsConfig | None = None
    stages: tuple[Stage, ...] | None = None
    cost: CostConfig = field(default_factory=CostConfig)

    @property
    def world(self) -> AnyEnvConfig:
        """The world.

        Raises:
            ConfigError: the run has none, it learned from recordings.
        """
        if self.env is None:
            raise ConfigError(
                f"{self.name} was trained on recordings and knows no world. Name one: sinew evaluate RUN --env NAME"
            )
        return self.env


def train(config: RunConfig, *, root: Path, command: str, seeds: int = 1) -> tuple[Path, ...]:
    """Collect, train, evaluate and report; an unfinished run of the same settings goes on.

    Args:
        config: everything that determines the run.
        root: directory that holds runs.
        command: what was typed, for the run card and the report.
        seeds: trainings with consecutive seeds, reported together when more than one.

    Returns:
        The run directories, one per seed.
    """
    from sinew.run.training import train_seeds

    return train_seeds(config, root=root, command=command, seeds=seeds)


def dry_run(config: RunConfig, *, root: Path, command: str) -> None:
    """Print what a training would take and what may go wrong with it; nothing is trained, nothing is written.

    Recordings of another format are read in as for a training, and stay for it.

    Raises:
        ConfigError: it cannot fit in memory; the message says what would.
    """
    from sinew.run import dry

    config, recorded = prepare(config, root=root)
    dry.dry_run(config, root=root, command=command, recorded=recorded)


def prepare(config: RunConfig, *, root: Path) -> tuple[RunConfig, tuple[Recorded, ...] | None]:
    """Check a configuration and read its recordings in; return the one that knows their content, and them.

    Raises:
        ConfigError: settings cannot work together.
    """
    from sinew.run.recordings import read_in
    from sinew.run.training import check

    check(config)
    return read_in(config, root) if config.data is not None else (config, None)


def collect(config: RunConfig, *, out: Path | None) -> Path:
    """Record demonstrations as training would, and say where they are."""
    from sinew.run.training import collect_only

    return collect_only(config, out=out)


def evaluate(
    path: Path,
    *,
    episodes: int | None,
    against: Path | None,
    env: AnyEnvConfig | None = None,
    tasks: tuple[str, ...] | None = None,
    shield: str | None = None,
) -> None:
    """Measure the policy of a run or checkpoint, alone or against another on the same states; see ``measure_again``."""
    from sinew.run.measuring import measure_again

    measure_again(path, episodes=episodes, against=against, env=env, tasks=tasks, shield=shield)


def report(path: Path) -> Path:
    """Write the report of a run again from what it measured."""
    if (path / "answers-seen.json").exists():
        from sinew.run.teaching import report_again
    elif (path / "offline.json").exists():
        from sinew.run.cloning import report_again
    else:
        from sinew.run.reporting import report_again

    return report_again(path)
