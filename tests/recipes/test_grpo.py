"""GRPO finds a known optimum, improves an imitator, and learns from differences within groups alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recipes.bandit import SPEC, BanditVecEnv, best
from recipes.line_world import POLICY, WORLD, cloning, demonstrations, improving, small_policy
from sinew.core.rollout import run_episodes
from sinew.core.types import Cursor, RLBatch, Statistics
from sinew.data.store import Store
from sinew.engine.config import OptimConfig
from sinew.envs.rollout import Rollouts, roll_out
from sinew.models.config import (
    AnyHeadConfig,
    FlowHeadConfig,
    GaussianHeadConfig,
    GroundingConfig,
    LanguageConfig,
    PolicyConfig,
)
from sinew.models.heads.config import AutoregressiveHeadConfig, BinsHeadConfig, DiffusionHeadConfig
from sinew.models.language import train_tokenizer
from sinew.models.policy import VLAPolicy
from sinew.recipes.bc import BehaviourCloning
from sinew.recipes.config import GrpoConfig
from sinew.recipes.group_rounds import Explorer
from sinew.recipes.grpo import Grpo, take

HEADS: dict[str, AnyHeadConfig] = {
    "gaussian": GaussianHeadConfig(hidden=(32,)),
    "flow": FlowHeadConfig(width=32, layers=1, steps=4),
    "diffusion": DiffusionHeadConfig(width=32, layers=1, length=20, steps=4),
    "autoregressive": AutoregressiveHeadConfig(bins=32, width=32, layers=1, heads=2),
    "bins": BinsHeadConfig(bins=16, hidden=32, width=16),
    "mixture": GaussianHeadConfig(hidden=(32,), mixture=2),
    "fast": AutoregressiveHeadConfig(tokens="fast", vocabulary=128, width=32, layers=1, heads=2),
}
LEARNERS = {"gaussian": (1e-2, 0.05), "flow": (1e-2, 0.05), "diffusion": (1e-2, 0.05), "bins": (2e-2, 0.25)}
"""Learning rate and regret reached, one of each way to score a draw; classes know nothing of their neighbours."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return demonstrations(tmp_path_factory.mktemp("grpo") / "store", episodes=40)


def acting_with(kind: str) -> PolicyConfig:
    """Return the line world's policy with that head; FAST's chunks are executed whole."""
    execute = POLICY.horizon if kind == "fast" else POLICY.execute
    return dataclasses.replace(POLICY, head=HEADS[kind], execute=execute)


def bandit_policy(head: AnyHeadConfig) -> VLAPolicy:
    torch.manual_seed(0)
    words = LanguageConfig(width=16, layers=1, heads=2)
    config = PolicyConfig(language=words, head=head, grounding=GroundingConfig(), horizon=1, width=32)
    policy = VLAPolicy(config, SPEC, train_tokenizer(["match"]))
    one = np.ones(2, dtype=np.float32)
    policy.fit_normalizer({name: Statistics(0 * one, one / 2, -one, one, -one, one, 9) for name in ("state", "action")})
    return policy


def bandit_rounds(config: GrpoConfig) -> Callable[[int, nn.Module], Rollouts]:
    env = BanditVecEnv(128)

    def gather(number: int, policy: nn.Module) -> Rollouts:
        torch.manual_seed(number)
        actor = Explorer(cast("VLAPolicy", policy), condensed=config.train == "head")
        names = env.states("train", "match", config.scenes, number * config.scenes)
        return roll_out(env, actor, names, group=config.group, execute=1)

    return gather


def regret(policy: VLAPolicy) -> float:
    """Mean squared distance of the likeliest action to the best one, on states not trained on."""
    env = BanditVecEnv(200)
    obs = env.reset(env.states("seen", "match", 200))
    return float(np.square(policy.predict_action_chunk(obs)[:, 0] - best(obs.state[:, 0])).sum(axis=1).mean())


@pytest.mark.parametrize("kind", LEARNERS)
def test_it_finds_the_optimum_of_the_bandit(kind: str) -> None:
    """The best actions are at 0, the untrained policies' at 0.4 and 0.8, random ones at 1."""
    lr, bar = LEARNERS[kind]
    config = GrpoConfig(scenes=16, group=8, epochs=2, minibatches=2)
    policy = bandit_policy(HEADS[kind])
    before = regret(policy)
    recipe = Grpo(policy, bandit_rounds(config), config, OptimConfig(lr=lr, ema=0.0), updates=40, seed=0)
    for batch in islice(recipe.batches(Cursor()), 40):
        recipe.update(batch)
    assert before > 0.3
    assert regret(policy) < bar


def imitator(store: Store, updates: int) -> VLAPolicy:
    """A policy that has begun to imitate."""
    torch.manual_seed(0)
    policy = small_policy(store, config=dataclasses.replace(POLICY, head=HEADS["gaussian"], execute=2))
    windows = cloning([store], updates).windows
    recipe = BehaviourCloning(
        policy, windows, cloning([store], updates).config, OptimConfig(lr=6e-3, ema=0.0), updates=updates, seed=0
    )
    for batch in islice(recipe.batches(Cursor(0)), updates):
        recipe.update(batch)
    return policy


def success(policy: VLAPolicy) -> float:
    env = WORLD.build(20)
    ids = [name for task in env.tasks for name in env.states("seen", task, 20)]
    policy.reset()
    return float(np.mean([outcome.success for outcome in run_episodes(env, policy, ids)]))


def first_batch(recipe: Grpo) -> RLBatch[Tensor]:
    return next(recipe.batches(Cursor()))


@pytest.mark.parametrize("train", ["head", "all"])
def test_it_improves_an_imitator(store: Store, tmp_path: Path, train: str) -> None:
    policy = imitator(store, 30)
    before = success(policy)
    recipe = improving(policy, tmp_path, 40, scenes=6, group=6, train=train)
    for batch in islice(recipe.batches(Cursor()), 40):
        recipe.update(batch)
    assert before < 0.6
    assert success(policy) >= before + 0.2


@pytest.mark.parametrize("train", ["head", "all"])
@pytest.mark.parametrize("kind", HEADS)
def test_the_stored_score_is_the_recomputed_one(store: Store, tmp_path: Path, kind: str, train: str) -> None:
    policy = small_policy(store, config=acting_with(kind))
    batch = first_batch(improving(policy, tmp_path, 1, train=train))
    assert bool(batch.obs.images) == (train == "all")
    again = policy.log_prob(batch.obs, batch.trace).detach()
    torch.testing.assert_close(again[batch.mask], batch.log_prob[batch.mask], rtol=0, atol=1e-4)


def test_the_head_alone_learns_unless_all_is_asked_for(store: Store, tmp_path: Path) -> None:
    for train, moved in (("head", False), ("all", True)):
        policy = imitator(store, 30)
        before = {name: value.clone() for name, value in policy.state_dict().items()}
        recipe = improving(policy, tmp_path / train, 2, scenes=6, group=6, train=train)
        for batch in islice(recipe.batches(Cursor()), 2):
            recipe.update(batch)
        changed = {name for name, value in policy.state_dict().items() if not torch.equal(value, before[name])}
        assert any(name.startswith("head.") for name in changed)
        assert any(name.startswith("network.") for name in changed) == moved


def test_an_update_without_any_difference_leaves_the_weights_alone(store: Store, tmp_path: Path) -> None:
    policy = small_policy(store, config=dataclasses.replace(POLICY, head=HEADS["gaussian"]))
    recipe = improving(policy, tmp_path, 4)
    batch = first_batch(recipe)
    assert batch.advantage is not None
    before = [value.clone() for value in policy.parameters()]
    metrics = recipe.update(dataclasses.replace(batch, advantage=torch.zeros_like(batch.advantage)))
    assert all(torch.equal(a, b) for a, b in zip(before, policy.parameters(), strict=True))
    assert float(metrics["kept"]) == 0.0
    assert float(metrics["grad_norm"]) == 0.0


def test_a_success_among_failures_becomes_likelier(store: Store, tmp_path: Path) -> None:
    policy = imitator(store, 30)
    recipe = improving(policy, tmp_path, 50, scenes=6, group=6, epochs=1, minibatches=1)
    batch = first_batch(recipe)
    assert batch.advantage is not None
    recipe.update(batch)
    change = (policy.log_prob(batch.obs, batch.trace).detach() - batch.log_prob) * batch.mask
    assert float((change.sum(dim=1) * batch.advantage).sum()) > 0


def test_shuffled_returns_are_the_same_ones_in_other_hands(store: Store, tmp_path: Path) -> None:
    policy = imitator(store, 30)
    plain, shuffled = (
        first_batch(improving(policy, tmp_path, 1, scenes=6, group=6, shuffle=shuffle)) for shuffle in (False, True)
    )
    assert plain.advantage is not None
    assert shuffled.advantage is not None
    assert torch.equal(plain.reward, shuffled.reward)
    assert not torch.equal(plain.advantage, shuffled.advantage)


def test_a_weight_on_the_divergence_keeps_the_policy_near_the_first_one(store: Store, tmp_path: Path) -> None:
    distance: dict[float, float] = {}
    for weight in (0.0, 10.0):
        policy = imitator(store, 30)
        recipe = improving(policy, tmp_path / str(weight), 4, scenes=6, group=6, kl=weight, epochs=4)
        first = first_batch(recipe)
        for batch in islice(recipe.batches(Cursor()), 4):
            recipe.update(batch)
        moved = policy.log_prob(first.obs, first.trace).detach() - first.log_prob
        distance[weight] = float(moved[first.mask].abs().mean())
        assert (recipe.reference is None) == (weight == 0.0)
    assert distance[10.0] < 0.5 * distance[0.0]


@pytest.mark.parametrize("kind", HEADS)
def test_a_step_runs_on_the_meta_device(store: Store, tmp_path: Path, kind: str) -> None:
    policy = small_policy(store, config=acting_with(kind))
    batch = first_batch(improving(policy, tmp_path, 1, kl=0.1))
    recipe = improving(policy.to("meta"), tmp_path, 1, kl=0.1)
    recipe.device = torch.device("meta")
    metrics = recipe._step(batch)
    assert {value.device.type for value in metrics.values()} == {"meta"}


def test_taken_decisions_keep_their_words_and_arrays(store: Store, tmp_path: Path) -> None:
    batch = first_batch(
        improving(small_policy(store, config=dataclasses.replace(POLICY, head=HEADS["flow"])), tmp_path, 1)
    )
    part = take(batch, torch.tensor([3, 1]))
    assert part.obs.instruction == (batch.obs.instruction[3], batch.obs.instruction[1])
    assert torch.equal(part.trace["chain"], batch.trace["chain"][[3, 1]])
    assert torch.equal(part.obs.state, batch.obs.state[[3, 1]])
