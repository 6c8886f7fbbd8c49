"""Schedule, clipping, skipping and averaging, with numbers worked out by hand."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from sinew.core.errors import ConfigError
from sinew.engine.config import OptimConfig
from sinew.engine.optim import Ema, Optim, learning_rate


def test_schedule_numbers_worked_by_hand() -> None:
    config = OptimConfig(lr=1.0, warmup=0.2, final=0.1)
    rates = [learning_rate(config, step, 10) for step in range(10)]
    assert rates[0] == 0.5
    assert rates[1] == 1.0
    # step 5 is half-way through the 8 steps after the warm-up: (1 + 0.1) / 2
    assert rates[5] == pytest.approx(0.55)
    assert rates[9] == pytest.approx(0.1)
    assert learning_rate(config, 50, 10) == pytest.approx(0.1)
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[1:]))


def linear() -> nn.Linear:
    module = nn.Linear(2, 1)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[1.0, -1.0]]))
        module.bias.fill_(0.5)
    return module


@pytest.mark.parametrize("fused", [True, False])
def test_first_step_moves_by_the_rate_and_decays_matrices_only(fused: bool) -> None:
    module = linear()
    optim = Optim(module, OptimConfig(lr=0.1, weight_decay=0.5, warmup=0.0, clip=0.0), 10)
    optim.fused = fused
    norm = optim.step(module(torch.tensor([[3.0, 4.0]])).sum())
    # The first Adam step is lr * sign(gradient); decoupled decay first multiplies by 1 - 0.1 * 0.5.
    assert module.weight.tolist()[0] == pytest.approx([0.95 - 0.1, -0.95 - 0.1])
    assert module.bias.item() == pytest.approx(0.5 - 0.1)
    assert norm.item() == pytest.approx(math.sqrt(9 + 16 + 1))


@pytest.mark.parametrize("fused", [True, False])
def test_gradients_are_clipped_to_the_norm(fused: bool) -> None:
    module = linear()
    optim = Optim(module, OptimConfig(clip=1.0), 10)
    optim.fused = fused
    optim.step(module(torch.tensor([[3.0, 4.0]])).sum())
    first_moment = optim.adamw.state[module.weight]["exp_avg"]
    assert first_moment.flatten().tolist() == pytest.approx([0.1 * 3 / math.sqrt(26), 0.1 * 4 / math.sqrt(26)])


def test_small_gradients_are_not_scaled_up() -> None:
    module = linear()
    optim = Optim(module, OptimConfig(clip=100.0), 10)
    optim.step(module(torch.tensor([[3.0, 4.0]])).sum())
    assert optim.adamw.state[module.weight]["exp_avg"].flatten().tolist() == pytest.approx([0.3, 0.4])


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_step_that_is_not_finite_changes_nothing(waits: bool, where: str) -> None:
    """``waits`` False is the path of CUDA: the fused kernel reads the flag; it runs on a CPU too."""
    module = linear()
    optim = Optim(module, OptimConfig(), 10)
    optim.waits = waits
    optim.step(module(torch.ones(1, 2)).sum())
    before = [item.clone() for item in (*module.parameters(), optim.adamw.state[module.weight]["exp_avg"])]
    output = module(torch.ones(1, 2)).sum()
    # The square root of 0 is finite, its gradient is not.
    bad = output * 0 + torch.tensor(float("inf")) if where == "loss" else (output * 0).sqrt()
    assert not optim.step(bad).isfinite()
    after = [*module.parameters(), optim.adamw.state[module.weight]["exp_avg"]]
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))
    assert (int(optim.bad_run), int(optim.bad_total), optim.num_steps) == (1, 1, 2)
    assert optim.step(module(torch.ones(1, 2)).sum()).isfinite()
    assert (int(optim.bad_run), int(optim.bad_total)) == (0, 1)
    assert int(optim.adamw.state[module.weight]["step"]) == 2


def test_a_step_asks_nothing_of_the_host_where_waiting_costs() -> None:
    """On the meta device every look at a number would raise."""
    module = nn.Linear(2, 1, device="meta")
    optim, ema = Optim(module, OptimConfig(), 10), Ema(module, 0.9)
    for _ in range(2):
        assert optim.step(module(torch.ones(1, 2, device="meta")).sum()).is_meta
        ema.update()
    assert ema.module().weight.is_meta


def test_frozen_modules_are_refused() -> None:
    with pytest.raises(ConfigError, match="frozen"):
        Optim(nn.Linear(1, 1).requires_grad_(False), OptimConfig(), 10)


def test_ema_follows_by_hand_and_copies_buffers() -> None:
    module = nn.BatchNorm1d(1)
    ema = Ema(module, 0.998)
    with torch.no_grad():
        module.weight.fill_(2.0)
        module.running_mean.fill_(7.0)
    ema.update()
    # The warm start's first decay is 1 / 10.
    averaged = ema.module()
    assert averaged.weight.item() == pytest.approx(0.1 * 1 + 0.9 * 2)
    ema.update()
    assert averaged.weight.item() == pytest.approx(2 / 11 * 1.9 + 9 / 11 * 2)
    assert averaged.running_mean.item() == 7.0
    assert not averaged.training
    assert not averaged.weight.requires_grad
    assert module.weight.requires_grad


def test_ema_reaches_its_decay() -> None:
    module = linear()
    ema = Ema(module, 0.5)
    ema.num_updates = 1000
    with torch.no_grad():
        module.bias.fill_(1.5)
    ema.update()
    assert ema.module().bias.item() == pytest.approx(1.0)
