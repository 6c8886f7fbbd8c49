"""Schedule, clipping, skipping and averaging, with numbers worked out by hand."""

from __future__ import annotations

import itertools
import math
from functools import partial

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
    if not fused:
        optim.adamw = torch.optim.AdamW(optim.adamw.param_groups)
    norm = optim.step(module(torch.tensor([[3.0, 4.0]])).sum())
    # The first Adam step is lr * sign(gradient); decoupled decay first multiplies by 1 - 0.1 * 0.5.
    assert module.weight.tolist()[0] == pytest.approx([0.95 - 0.1, -0.95 - 0.1])
    assert module.bias.item() == pytest.approx(0.5 - 0.1)
    assert norm.item() == pytest.approx(math.sqrt(9 + 16 + 1))


@pytest.mark.parametrize("fused", [True, False])
def test_gradients_are_clipped_to_the_norm(fused: bool) -> None:
    module = linear()
    optim = Optim(module, OptimConfig(clip=1.0), 10)
    if not fused:
        optim.adamw = torch.optim.AdamW(optim.adamw.param_groups)
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


def test_a_long_run_warms_up_for_2000_steps_and_any_number_can_be_named() -> None:
    assert learning_rate(OptimConfig(lr=1.0, warmup=0.03), 999, 1_000_000) == pytest.approx(0.5)
    assert learning_rate(OptimConfig(lr=1.0, warmup=5000), 999, 1_000_000) == pytest.approx(0.2)


class Parts(nn.Module):
    """Two layers and what stands between them."""

    def __init__(self) -> None:
        super().__init__()
        self.eyes = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm((1, 2)))
        self.head = nn.Linear(2, 1)

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.eyes(x[:, None])).square().sum()


def test_parts_learn_at_their_own_rates_and_norms_of_any_shape_do_not_decay() -> None:
    module = Parts()
    config = OptimConfig(lr=1.0, warmup=1, weight_decay=0.5, parts={"eyes": 0.1, "eyes.1": 0.0})
    optim = Optim(module, config, 10)
    optim.step(module.loss(torch.ones(1, 2)))
    found = {(group["lr"], group["weight_decay"]): len(group["params"]) for group in optim.adamw.param_groups}
    assert found == {(1.0, 0.5): 1, (1.0, 0.0): 1, (0.1, 0.5): 1, (0.1, 0.0): 1}
    assert not module.eyes[1].weight.requires_grad
    plain = Optim(Parts(), OptimConfig(weight_decay=0.5), 10)
    assert [len(group["params"]) for group in plain.adamw.param_groups] == [2, 4]


@pytest.mark.parametrize("parts", [{"ears": 1.0}, {"eye": 0.5}, {"eyes": -1.0}])
def test_unknown_parts_are_refused_with_those_there_are(parts: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"There are eyes, head, eyes\.0, eyes\.1, head\.weight"):
        Optim(Parts(), OptimConfig(parts=parts), 10)


def test_a_batch_in_pieces_is_the_same_step_and_bad_in_any_piece_is_bad() -> None:
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    whole, cut = Parts(), Parts()
    cut.load_state_dict(whole.state_dict())
    optims = Optim(whole, OptimConfig(), 10), Optim(cut, OptimConfig(accumulate=3), 10)
    norms = [
        optims[0].step(whole.loss(x)),
        optims[1].step([partial(cut.loss, part) for part in x.split(2)]),
    ]
    torch.testing.assert_close(norms[0], norms[1])
    torch.testing.assert_close(whole.state_dict(), cut.state_dict())
    bad = x.clone()
    bad[2] = float("nan")
    optims[1].step([partial(cut.loss, part) for part in bad.split(2)])
    assert int(optims[1].bad_run) == 1
    torch.testing.assert_close(whole.state_dict(), cut.state_dict())


def test_bf16_computes_in_halves_and_keeps_weights_and_moments_whole() -> None:
    module = linear()
    optim = Optim(module, OptimConfig(precision="bf16"), 10)
    seen: list[torch.dtype] = []

    def loss() -> torch.Tensor:
        out = module(torch.ones(1, 2))
        seen.append(out.dtype)
        return out.float().sum()

    optim.step([loss])
    assert seen == [torch.bfloat16]
    assert {item.dtype for item in (*module.parameters(), optim.adamw.state[module.weight]["exp_avg"])} == {
        torch.float32
    }


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
