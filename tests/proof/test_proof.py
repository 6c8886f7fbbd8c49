"""BC, DAgger and planning in a learned model, each a page against ``core/types.py``, run on the line world."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from proof.bc import Bc, Frames
from proof.dagger import Dagger
from proof.mpc import MpcPolicy, Rssm, learn
from proof.net import ToyPolicy
from sinew.core.rollout import Tick, run_episodes, take_rows
from sinew.core.types import (
    Batch,
    ChunkPolicy,
    Cursor,
    EnvConfig,
    Policy,
    Recipe,
    RLBatch,
    SequenceBatch,
    StochasticHead,
    StochasticTrainable,
    Trainable,
    VecEnv,
)
from sinew.engine.config import OptimConfig
from sinew.recipes.config import GrpoConfig
from sinew.recipes.group_rounds import GroupRounds
from sinew.recipes.grpo import Grpo
from toy import STEP, ToyConfig

CONFIG = ToyConfig()


def success_rate(policy: Policy, episodes: int = 20) -> float:
    """Return the success rate on states that were not trained on."""
    env = CONFIG.build(8)
    ids = [name for task in env.tasks for name in env.states("seen", task, episodes // 2)]
    return float(np.mean([outcome.success for outcome in run_episodes(env, policy, ids)]))


def demonstrations(episodes: int) -> Frames:
    """Return what the expert does."""
    frames, env, expert = Frames(), CONFIG.build(8), CONFIG.expert()
    ids = [name for task in env.tasks for name in env.states("train", task, episodes // 2)]
    run_episodes(env, expert, ids, watch=lambda tick: frames.add(tick, tick.actions))
    return frames


def small_policy() -> ToyPolicy:
    torch.manual_seed(0)
    return ToyPolicy(CONFIG.spec)


def test_every_proof_is_what_its_type_says() -> None:
    """The assignments are judged by pyright; at run time they only have to build."""
    policy, frames = small_policy(), Frames()
    world: EnvConfig = CONFIG
    env: VecEnv = world.build(1)
    acts: ChunkPolicy = policy
    learns: Trainable = policy
    improves: StochasticTrainable = policy
    scores: StochasticHead = policy.head
    bc: Recipe[Batch[Tensor]] = Bc(policy, frames)
    dagger: Recipe[Batch[Tensor]] = Dagger(bc, frames, env, world.expert(), every=10, episodes=2)
    gather = GroupRounds(world, GrpoConfig(), 1, Path(), 0)
    grpo: Recipe[RLBatch[Tensor]] = Grpo(policy, gather, GrpoConfig(), OptimConfig(), updates=1, seed=0)
    plans: Policy = MpcPolicy(Rssm(CONFIG.spec.state_size, CONFIG.spec.action_size), CONFIG.spec)
    assert learns is improves is acts
    assert scores is policy.head
    assert dagger.acting() is bc.acting() is policy
    assert grpo.modules["policy"] is policy
    assert plans.spec == env.spec


def test_bc_learns_from_demonstrations() -> None:
    recipe = Bc(small_policy(), demonstrations(40))
    before = success_rate(recipe.acting())
    for batch in itertools.islice(recipe.batches(Cursor()), 300):
        recipe.update(batch)
    assert before < 0.2
    assert success_rate(recipe.acting()) >= 0.9


def test_bc_batch_depends_on_seed_and_number_only() -> None:
    recipe = Bc(small_policy(), demonstrations(8), batch=4)
    third = next(itertools.islice(recipe.batches(Cursor()), 3, None))
    again = next(recipe.batches(Cursor(3)))
    torch.testing.assert_close(third.actions, again.actions, rtol=0, atol=0)
    assert third.obs.instruction == again.obs.instruction


def test_dagger_learns_and_its_data_grows_in_rounds() -> None:
    frames, env = Frames(), CONFIG.build(8)
    dagger = Dagger(Bc(small_policy(), frames), frames, env, CONFIG.expert(), every=100, episodes=16)
    frames_seen = {float(dagger.update(batch)["frames"]) for batch in itertools.islice(dagger.batches(Cursor()), 300)}
    assert len(frames_seen) == 3
    policy = dagger.inner.acting()
    assert isinstance(policy, ToyPolicy)
    assert success_rate(policy) >= 0.9


def test_dagger_keeps_no_simulator_truth_in_its_data() -> None:
    frames, env = Frames(), CONFIG.build(2)
    Dagger(Bc(small_policy(), frames), frames, env, CONFIG.expert(), every=100, episodes=2).collect()
    assert frames.obs
    assert not any(obs.privileged for obs in frames.obs)


def sequences(num_rows: int, ticks: int) -> SequenceBatch[Tensor]:
    """Return random walks that are paid for standing far to the right."""
    rng, env = np.random.default_rng(0), CONFIG.build(num_rows)
    obs, seen, taken, paid = env.reset(env.states("train", "right", num_rows)), [], [], []
    for _ in range(ticks):
        actions = rng.uniform(env.spec.low, env.spec.high, (num_rows, 2)).astype(np.float32)
        actions[:, 1] = 0.0
        seen.append(obs.state[:, 0])
        obs = env.step(actions).obs
        taken.append(actions)
        paid.append(obs.state[:, 0, 0])
    state, actions, reward = (torch.from_numpy(np.stack(parts, 1)) for parts in (seen, taken, paid))
    is_first = torch.zeros(num_rows, ticks, dtype=torch.bool)
    is_first[:, 0] = True
    no = torch.zeros_like(is_first)
    told = obs.public().map(torch.from_numpy)
    told = type(told)(images={}, state=state, instruction=told.instruction)
    return SequenceBatch(told, actions, reward, terminated=no, is_first=is_first, mask=~no)


def test_model_predictive_control_finds_the_reward_its_model_learned() -> None:
    torch.manual_seed(0)
    model = Rssm(CONFIG.spec.state_size, CONFIG.spec.action_size)
    optim, batch = torch.optim.Adam(model.parameters(), lr=1e-2), sequences(64, 8)
    losses = [float(learn(model, optim, batch)["loss"]) for _ in range(100)]
    assert losses[-1] < 0.5 * losses[0]
    moves: list[float] = []
    env = CONFIG.build(4)

    def watch(tick: Tick) -> None:
        moves.extend(tick.actions[:, 0].tolist())

    run_episodes(env, MpcPolicy(model, CONFIG.spec), env.states("seen", "left", 4), watch=watch)
    assert np.mean(moves) > 0.5 * STEP


def test_belief_is_kept_per_row() -> None:
    """Row 1 acts the same whether row 0 is there or not, and a reset of row 0 forgets row 0 alone."""
    torch.manual_seed(1)
    model, env = Rssm(CONFIG.spec.state_size, CONFIG.spec.action_size), CONFIG.build(2)
    obs = env.reset(env.states("seen", "left", 2))
    both, alone = MpcPolicy(model, CONFIG.spec), MpcPolicy(model, CONFIG.spec)
    for _ in range(3):
        one, two = both.select_action(obs), alone.select_action(take_rows(obs, np.array([1])), [1])
        np.testing.assert_allclose(one[1], two[0], atol=1e-5)
    kept = both.latent.memory.clone()
    both.reset([0])
    assert kept[0].any()
    assert not both.latent.memory[0].any()
    torch.testing.assert_close(both.latent.memory[1], kept[1])
