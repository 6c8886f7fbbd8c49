"""Losses of policy gradients against numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from sinew.losses.rl import (
    clipped_loss,
    even_weight,
    group_advantage,
    has_spread,
    is_clipped,
    kl_k3,
    masked_mean,
)

LN2 = math.log(2.0)


def test_group_advantage_is_the_worked_number() -> None:
    """(1, 0, 0, 0): mean 1/4, std 1/2 with ddof 1, so 3/2 and -1/2; (1, 0, 0, 1): std 1/sqrt(3), so +-sqrt(3)/2."""
    advantage = group_advantage(torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0]]))
    wanted = torch.tensor([[1.5, -0.5, -0.5, -0.5], [0.8660254, -0.8660254, -0.8660254, 0.8660254]])
    torch.testing.assert_close(advantage, wanted, rtol=1e-5, atol=1e-5)


def test_groups_without_spread_give_exactly_nothing() -> None:
    returns = torch.tensor([[0.1] * 7, [0.0] * 7, [1 / 3] * 7, [0.0] * 6 + [1.0]])
    assert has_spread(returns).tolist() == [False, False, False, True]
    assert not group_advantage(returns)[:3].any()


def test_group_advantage_does_not_depend_on_the_order_or_the_scale_of_rewards() -> None:
    returns = torch.rand(3, 8, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    advantage = group_advantage(returns)
    torch.testing.assert_close(group_advantage(returns[:, order]), advantage[:, order])
    torch.testing.assert_close(group_advantage(5.0 + 10.0 * returns), advantage, rtol=1e-3, atol=1e-3)


def test_clipped_loss_is_the_worked_number() -> None:
    """Ratios 2, 1/2 and 1.25 with clip 0.2 / 0.28, for a good and a bad row."""
    log_prob = torch.tensor([[LN2, -LN2, math.log(1.25)]]).repeat(2, 1)
    advantage = torch.tensor([2.0, -1.0])
    loss = clipped_loss(log_prob, torch.zeros(2, 3), advantage, low=0.2, high=0.28)
    wanted = torch.tensor([[-2 * 1.28, -2 * 0.5, -2 * 1.25], [2.0, 0.8, 1.25]])
    torch.testing.assert_close(loss, wanted)
    clipped = is_clipped(log_prob, torch.zeros(2, 3), advantage, low=0.2, high=0.28)
    assert clipped.tolist() == [[True, False, False], [False, True, False]]


def test_the_gradient_vanishes_where_the_clip_says_so_and_is_the_policy_gradient_at_ratio_one() -> None:
    log_prob = torch.tensor([[0.0, LN2, -LN2]], requires_grad=True)
    clipped_loss(log_prob, torch.zeros(1, 3), torch.tensor([3.0]), low=0.2, high=0.28).sum().backward()
    assert log_prob.grad is not None
    torch.testing.assert_close(log_prob.grad, torch.tensor([[-3.0, 0.0, -1.5]]))


def test_k3_is_the_worked_number_and_estimates_the_divergence() -> None:
    """Ratio 2 gives 2 - 1 - ln 2; on draws of N(0, 1) against N(0.5, 1) its mean is 0.5^2 / 2."""
    found = kl_k3(torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[LN2, -LN2, 1.0]]))
    torch.testing.assert_close(found, torch.tensor([[1 - LN2, LN2 - 0.5, 0.0]]))
    draws = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    estimate = kl_k3(-0.5 * draws.square()[:, None], -0.5 * (draws - 0.5).square()[:, None]).mean()
    assert float(estimate) == pytest.approx(0.125, abs=3e-3)


def test_masked_units_reach_neither_the_mean_nor_the_gradient() -> None:
    values = torch.tensor([[1.0, float("inf")], [3.0, float("nan")]], requires_grad=True)
    mean = masked_mean(values, torch.tensor([[True, False], [True, False]]))
    mean.backward()
    assert mean.item() == 2.0
    assert values.grad is not None
    assert values.grad.tolist() == [[0.5, 0.0], [0.5, 0.0]]


def test_even_weights_are_the_worked_number() -> None:
    """Episode 0 has 4 + 2 units, episode 1 has 2: the mean length is 4, so 4/6, 4/2 and 4/6."""
    weight = even_weight(torch.tensor([4, 2, 2]), torch.tensor([0, 1, 0]))
    torch.testing.assert_close(weight, torch.tensor([2 / 3, 2.0, 2 / 3]))


def test_the_mean_of_nothing_is_nothing() -> None:
    assert float(masked_mean(torch.ones(2, 2), torch.zeros(2, 2, dtype=torch.bool))) == 0.0
