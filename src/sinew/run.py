"""The one place where the parts meet: a full configuration, and what running it means."""

from __future__ import annotations

from dataclasses import dataclass, field

from sinew.data.config import CollectConfig
from sinew.engine.config import LoopConfig, OptimConfig
from sinew.envs.config import AnyEnvConfig
from sinew.envs.tabletop.config import TabletopConfig
from sinew.evaluate.config import EvaluateConfig
from sinew.models.config import PolicyConfig
from sinew.recipes.config import BcConfig, DaggerConfig


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
