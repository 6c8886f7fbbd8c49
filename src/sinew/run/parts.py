"""Builds the parts of a run from its configuration."""

from __future__ import annotations

import dataclasses
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sinew.core.config import digest
from sinew.core.errors import ConfigError
from sinew.core.rundir import RunDir
from sinew.data.stats import statistics
from sinew.data.store import Store
from sinew.data.windows import Windows
from sinew.models.language import train_tokenizer
from sinew.models.policy import VLAPolicy
from sinew.recipes.bc import BehaviourCloning
from sinew.recipes.config import DaggerConfig
from sinew.recipes.dagger import Dagger
from sinew.recipes.expert_rounds import ExpertRounds

if TYPE_CHECKING:
    from collections.abc import Callable

    from sinew.core.types import Recipe
    from sinew.run import RunConfig


def pick_device(name: str) -> torch.device:
    """Return the device that a name means; "auto" takes CUDA, then MPS, then the CPU.

    Raises:
        ConfigError: there is no such device here.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if available[kind]))
    if not available.get(name.split(":")[0], False):
        there = ", ".join(kind for kind, there in available.items() if there)
        raise ConfigError(f"--device {name}: not on this machine, which has: {there}. Try --device auto.")
    return torch.device(name)


def run_path(config: RunConfig, root: Path) -> Path:
    """Return a run's directory; settings that change no result do not change it."""
    return root / f"{config.name}-{digest(dataclasses.replace(config, workers=0))}"


def store_path(config: RunConfig, root: Path) -> Path:
    """Return where the demonstrations of these settings lie; runs that need the same ones share them."""
    return root / "data" / f"{config.name}-{digest(config.env, config.collect, config.seed)}"


def build_policy(config: RunConfig, demonstrations: Store) -> VLAPolicy:
    """Return a policy with seeded random weights that knows the data's words and statistics.

    Args:
        config: of the run.
        demonstrations: whose training episodes give words and statistics.
    """
    torch.manual_seed(config.seed)
    sentences = {record.instruction for record in demonstrations.records}
    policy = VLAPolicy(config.policy, demonstrations.spec, train_tokenizer(sentences))
    policy.fit_normalizer(statistics([demonstrations]))
    return policy.to(pick_device(config.device))


def build_recipe(
    config: RunConfig,
    policy: VLAPolicy,
    demonstrations: Store,
    rundir: RunDir,
    *,
    pool: Executor,
    note: Callable[[str], None],
) -> Recipe[Any]:
    """Return the recipe of a run, ready for the trainer.

    Args:
        config: of the run.
        policy: what learns.
        demonstrations: what it learns from.
        rundir: where a recipe keeps what it gathers itself.
        pool: processes that act.
        note: told what happens.
    """
    recipe = config.recipe
    inner = recipe.inner if isinstance(recipe, DaggerConfig) else recipe
    stores = [demonstrations]
    if isinstance(recipe, DaggerConfig):
        stores.append(
            Store.open_or_create(rundir.data / "dagger", demonstrations.spec, tuple(demonstrations.target_sizes))
        )
    windows = Windows(stores, history=config.policy.history, horizon=config.policy.horizon)
    cloning = BehaviourCloning(
        policy,
        windows,
        inner,
        config.optim,
        updates=config.loop.updates,
        seed=config.seed,
        device=pick_device(config.device),
    )
    if not isinstance(recipe, DaggerConfig):
        return cloning
    rounds = [max(1, round(share * config.loop.updates)) for share in recipe.rounds]
    gather = ExpertRounds(config.env, recipe, rundir.data, config.seed, pool=pool, note=note)
    return Dagger(cloning, stores[1], gather, rounds=rounds)
