"""Settings of every recipe; light to import."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sinew.data.config import AugmentConfig


@dataclass(frozen=True)
class BcConfig:
    """Behaviour cloning on recorded windows.

    Attributes:
        batch: rows per update.
    """

    kind: Literal["bc"] = "bc"
    batch: int = 64
    augment: AugmentConfig = field(default_factory=AugmentConfig)


@dataclass(frozen=True)
class DaggerConfig:
    """Dataset aggregation (Ross 2011) inside one behaviour-cloning schedule.

    Attributes:
        inner: the supervised recipe that learns.
        rounds: shares of the run at which the policy acts and the expert labels.
        episodes: episodes per round.
        mix: share of each task by name; None means equal shares.
        take_over: chance per tick that the expert acts for a few ticks.
        label_horizon: steps of a chunk that the expert's labels of a foreign state are good for.
    """

    kind: Literal["dagger"] = "dagger"
    inner: BcConfig = field(default_factory=BcConfig)
    rounds: tuple[float, ...] = (0.2, 0.4, 0.6)
    episodes: int = 480
    mix: dict[str, float] | None = None
    take_over: float = 0.05
    label_horizon: int = 2


RECIPES: dict[str, type[BcConfig | DaggerConfig]] = {"bc": BcConfig, "dagger": DaggerConfig}
