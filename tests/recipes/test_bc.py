"""Behaviour cloning learns to act, and draws by (seed, update) alone."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import cast

import pytest
import torch

from recipes.line_world import WORLD, cloning, demonstrations
from sinew.core.errors import DataError
from sinew.core.rollout import run_episodes
from sinew.core.types import Batch, Cursor, Policy
from sinew.data.augment import Augment
from sinew.data.config import AugmentConfig
from sinew.data.mixture import Mixture, Part
from sinew.data.store import Store
from sinew.data.windows import Windows
from sinew.engine.config import OptimConfig
from sinew.recipes.bc import BehaviourCloning


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return demonstrations(tmp_path_factory.mktemp("bc") / "store", episodes=40)


def batches(recipe: BehaviourCloning, start: int, count: int) -> Iterator[Batch[torch.Tensor]]:
    return islice(recipe.batches(Cursor(start)), count)


def success(policy: Policy, variant: str = "") -> float:
    """Success rate over the unseen states of both tasks."""
    env = WORLD.build(8)
    ids = [f"{name}{variant}" for task in env.tasks for name in env.states("seen", task, 10)]
    return sum(outcome.success for outcome in run_episodes(env, policy, ids)) / len(ids)


def test_it_learns_to_follow_the_words(store: Store) -> None:
    updates = 150
    recipe = cloning([store], updates, optim=OptimConfig(lr=6e-3, ema=0.9))
    losses = [float(recipe.update(batch)["loss"]) for batch in batches(recipe, 0, updates)]
    assert sum(losses[-10:]) < 0.15 * sum(losses[:10])
    policy = cast("Policy", recipe.acting())
    assert success(policy) >= 0.9
    assert success(policy, "~wrong") <= 0.1
    assert success(policy, "~other") >= 0.9


def test_batch_k_is_the_same_from_wherever_one_starts(store: Store) -> None:
    recipe = cloning([store], 10)
    early = list(batches(recipe, 0, 6))
    late = list(batches(recipe, 4, 2))
    assert torch.equal(early[4].ids, late[0].ids)
    assert torch.equal(early[5].actions, late[1].actions)
    assert not torch.equal(early[4].ids, early[5].ids)


def test_hues_are_turned_only_where_no_word_holds_them(store: Store) -> None:
    recipe = cloning([store], 10)
    recipe.augment = Augment(AugmentConfig(brightness=0, contrast=0, hue=1.0, hue_words=("right",)))
    batch = next(batches(recipe, 0, 1))
    coloured = torch.randint(60, 200, batch.obs.images["front"].shape, generator=torch.Generator().manual_seed(0))
    images = {"front": coloured.to(torch.uint8)}
    batch = replace(batch, obs=replace(batch.obs, images=images))
    changed = (recipe.augmented(batch).obs.images["front"] != images["front"]).flatten(1).any(dim=1)
    assert changed.tolist() == ["right" not in sentence for sentence in batch.obs.instruction]
    assert 0 < int(changed.sum()) < len(changed)


def test_augmentation_changes_images_by_seed_and_update_only(store: Store) -> None:
    recipe = cloning([store], 10)
    batch = next(recipe.batches(Cursor(0)))
    torch.manual_seed(1)
    one = recipe.augmented(batch).obs.images["front"]
    torch.manual_seed(2)
    assert torch.equal(one, recipe.augmented(batch).obs.images["front"])
    assert not torch.equal(one, batch.obs.images["front"])
    recipe.num_updates = 1
    assert not torch.equal(one, recipe.augmented(batch).obs.images["front"])


def test_rows_of_weight_zero_do_not_count(store: Store) -> None:
    one, two = cloning([store], 10), cloning([store], 10)
    batch = next(one.batches(Cursor(0)))
    weight = torch.ones(16)
    weight[8:] = 0
    spoilt = batch.actions.clone()
    spoilt[8:] = 0.1
    one.update(replace(batch, weight=weight))
    two.update(replace(batch, weight=weight, actions=spoilt))
    assert all(torch.equal(a, b) for a, b in zip(one.policy.parameters(), two.policy.parameters(), strict=True))


def test_metrics_are_not_waited_for(store: Store) -> None:
    recipe = cloning([store], 10)
    metrics = recipe.update(next(recipe.batches(Cursor(0))))
    assert set(metrics) == {"loss", "action", "grounding", "grad_norm"}
    assert all(isinstance(value, torch.Tensor) and not value.requires_grad for value in metrics.values())
    assert float(metrics["loss"]) == pytest.approx(float(metrics["action"] + metrics["grounding"]))


def test_without_averaging_the_policy_itself_acts(store: Store) -> None:
    recipe = cloning([store], 10, optim=OptimConfig(ema=0.0))
    assert recipe.acting() is recipe.policy


def test_data_that_changed_under_a_saved_state_is_refused(store: Store, tmp_path: Path) -> None:
    recipe = cloning([store], 10)
    next(recipe.batches(Cursor(0)))
    other = cloning([demonstrations(tmp_path / "fewer", episodes=4)], 10)
    other.load_state_dict(recipe.state_dict())
    with pytest.raises(DataError, match="was trained on"):
        next(other.batches(Cursor(1)))


def mixing(store: Store, second: Store) -> BehaviourCloning:
    plain = cloning([store], 10)
    assert isinstance(plain.windows, Windows)
    cut = {"history": plain.windows.history, "horizon": plain.windows.horizon}
    parts = [Part("much", plain.windows), Part("little", Windows([second], **cut), 4.0)]
    return BehaviourCloning(plain.policy, Mixture(parts), plain.config, OptimConfig(), updates=10, seed=0)


def test_a_mixture_goes_on_bit_for_bit_after_scores_were_told(store: Store, tmp_path: Path) -> None:
    second = demonstrations(tmp_path / "second", episodes=4)
    whole = mixing(store, second)
    stream = whole.batches(Cursor(0))
    for _ in range(3):
        whole.update(next(stream))
    whole.turn_to(3, (0.5, 1.5))
    state = whole.state_dict()
    resumed = mixing(store, second)
    resumed.load_state_dict(copy.deepcopy(state))
    for one, two in zip(batches(whole, 3, 3), batches(resumed, 3, 3), strict=True):
        assert one.source == two.source
        assert torch.equal(one.obs.images["front"], two.obs.images["front"])
        assert {"much", "little"} == set(one.source)
        whole.update(one)
        resumed.update(two)
    assert all(torch.equal(a, b) for a, b in zip(whole.policy.parameters(), resumed.policy.parameters(), strict=True))
    with pytest.raises(DataError, match="one data set has no weights"):
        cloning([store], 10).turn_to(3, (1.0,))
