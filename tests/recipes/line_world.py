"""Recipes on the line world: demonstrations, a small policy and every recipe ready to train."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from recipes.toy_pairs import cotraining
from recipes.toy_texts import pretraining
from sinew.core.types import Recipe
from sinew.data.collect import collect
from sinew.data.config import CollectConfig
from sinew.data.stats import statistics
from sinew.data.store import Store
from sinew.data.windows import Windows
from sinew.engine.config import OptimConfig
from sinew.models.config import (
    FilmVisionConfig,
    GaussianHeadConfig,
    GroundingConfig,
    LanguageConfig,
    MlpHeadConfig,
    PolicyConfig,
)
from sinew.models.language import train_tokenizer
from sinew.models.policy import VLAPolicy
from sinew.recipes.bc import BehaviourCloning
from sinew.recipes.config import BcConfig, DaggerConfig, GrpoConfig, PretrainConfig
from sinew.recipes.dagger import Dagger
from sinew.recipes.expert_rounds import ExpertRounds
from sinew.recipes.group_rounds import GroupRounds
from sinew.recipes.grpo import Grpo
from toy import ToyConfig

WORLD = ToyConfig(size=8)
POLICY = PolicyConfig(
    vision=FilmVisionConfig(channels=(4, 8, 8)),
    language=LanguageConfig(width=16, layers=1, heads=2, max_tokens=4),
    head=MlpHeadConfig(hidden=(32,)),
    grounding=GroundingConfig(points=(("goal", 1),)),
    width=32,
    horizon=3,
)


def demonstrations(path: Path, episodes: int = 12) -> Store:
    """Record a few episodes."""
    return collect(path, WORLD, CollectConfig(episodes=episodes, group=6, held_out=0.0), seed=0)


def small_policy(
    store: Store, seed: int = 0, config: PolicyConfig = POLICY, *, device: torch.device | str = "cpu"
) -> VLAPolicy:
    """Return a policy for the store's robot and words."""
    torch.manual_seed(seed)
    policy = VLAPolicy(config, store.spec, train_tokenizer(["go left", "go right"]))
    policy.fit_normalizer(statistics([store]))
    return policy.to(device)


def cloning(
    stores: list[Store], updates: int, *, optim: OptimConfig | None = None, seed: int = 0, device: str = "cpu"
) -> BehaviourCloning:
    """Return behaviour cloning on these stores."""
    policy = small_policy(stores[0], seed, device=device)
    windows = Windows(stores, history=policy.config.history, horizon=policy.config.horizon)
    config = BcConfig(batch=16)
    optim = optim or OptimConfig()
    return BehaviourCloning(policy, windows, config, optim, updates=updates, seed=seed, device=device)


def improving(policy: VLAPolicy, path: Path, updates: int, *, seed: int = 0, **changes: Any) -> Grpo:  # noqa: ANN401
    """Return GRPO on the line world."""
    config = GrpoConfig(**{"scenes": 3, "group": 4, "epochs": 1, "minibatches": 2, "train": "all", **changes})
    gather = GroupRounds(WORLD, config, max(2, policy.config.execute), path, seed)
    optim = OptimConfig(lr=1e-2, ema=0.0)
    return Grpo(policy, gather, config, optim, updates=updates, seed=seed, device=policy.device)


def build_recipe(kind: str, path: Path, updates: int, seed: int = 0, *, device: str = "cpu") -> Recipe[Any]:
    """Return a recipe by its name in RECIPES or STAGE_RECIPES, its data below ``path``."""
    if kind == "pretrain":
        parts = ("vision", "projector", "lm")
        return pretraining(path, updates, PretrainConfig(parts=parts, apart=1, batch=4), seed=seed)
    store = demonstrations(path / "demonstrations")
    if kind == "cotrain":
        return cotraining(store, path, updates, seed=seed, device=device)
    if kind == "bc":
        return cloning([store], updates, seed=seed, device=device)
    if kind == "dagger":
        config = DaggerConfig(rounds=(0.25, 0.5), episodes=6, take_over=0.2)
        own = Store.open_or_create(path / "dagger", store.spec, tuple(store.target_sizes))
        gather = ExpertRounds(WORLD, config, path / "data", seed)
        rounds = [round(share * updates) for share in config.rounds]
        return Dagger(cloning([store, own], updates, seed=seed, device=device), own, gather, rounds=rounds)
    if kind == "grpo":
        config = dataclasses.replace(POLICY, head=GaussianHeadConfig(hidden=(32,)))
        policy = small_policy(store, seed, config, device=device)
        return improving(policy, path / "data", updates, seed=seed)
    raise NotImplementedError(f"{kind}: add how to build it here, and it is tested")
