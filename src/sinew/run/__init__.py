"""The one place where the parts meet: a full configuration, and what running it means."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sinew.data.config import CollectConfig
from sinew.engine.config import LoopConfig, OptimConfig
from sinew.envs.config import AnyEnvConfig
from sinew.envs.tabletop.config import TabletopConfig
from sinew.evaluate.config import EvaluateConfig
from sinew.models.config import PolicyConfig
from sinew.recipes.config import BcConfig, DaggerConfig

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class RunConfig:
    """Everything that determines a run.

    Attributes:
        name: of the run directory, ``runs/<name>-<hash>``.
        seed: of every random choice.
        device: auto, cpu, cuda or mps.
        workers: processes for collecting and evaluating; 0 means one per CPU core. Changes no result.
    """

    name: str = "run"
    seed: int = 0
    device: str = "auto"
    workers: int = 0
    env: AnyEnvConfig = field(default_factory=TabletopConfig)
    collect: CollectConfig = field(default_factory=CollectConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    recipe: BcConfig | DaggerConfig = field(default_factory=DaggerConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)


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


def collect(config: RunConfig, *, out: Path | None) -> Path:
    """Record demonstrations as training would, and say where they are."""
    from sinew.run.training import collect_only

    return collect_only(config, out=out)


def evaluate(path: Path, *, episodes: int | None, against: Path | None) -> None:
    """Measure the policy of a run or checkpoint, alone or against another on the same states."""
    from sinew.run.measuring import measure_again

    measure_again(path, episodes=episodes, against=against)


def report(path: Path) -> Path:
    """Write the report of a run again from what it measured."""
    from sinew.run.reporting import report_again

    return report_again(path)
