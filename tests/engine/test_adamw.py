"""The fused step with lists that are kept, beside torch's own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from sinew.engine.adamw import FusedAdamW


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 2), nn.Linear(2, 1))


def optimisers(module: nn.Sequential, *, fused: bool) -> torch.optim.AdamW:
    groups = [
        {"params": list(module[0].parameters()), "weight_decay": 0.1, "lr": 0.02},
        {"params": [*module[2].parameters(), *module[3].parameters()], "weight_decay": 0.0, "lr": 0.01},
    ]
    return FusedAdamW(groups, 0.01) if fused else torch.optim.AdamW(groups, lr=0.01, fused=True)


def step(optim: torch.optim.AdamW, shrunk: Tensor | None = None, bad: Tensor | None = None) -> None:
    if isinstance(optim, FusedAdamW):
        optim.apply(shrunk, bad)
    else:
        vars(optim)["grad_scale"], vars(optim)["found_inf"] = shrunk, bad
        optim.step()


def run(*, fused: bool, bad_at: int | None = None, resumed_at: int | None = None) -> list[Tensor]:
    """Train on fixed rows, the last layer without a gradient at times, by shrunk gradients at others."""
    module = network()
    optim = optimisers(module, fused=fused)
    rows = torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(1))
    for number, x in enumerate(rows):
        optim.zero_grad(set_to_none=True)
        out = module[:3](x) if number in (2, 3) else module(x)
        out.square().sum().backward()
        bad = None if bad_at is None else torch.tensor(float(number == bad_at))
        step(optim, torch.tensor(3.0) if number % 2 else None, bad)
        for group in optim.param_groups:
            group["lr"] *= 0.9
        if number == resumed_at:
            kept = copy.deepcopy(optim.state_dict())
            optim = optimisers(module, fused=fused)
            optim.load_state_dict(kept)
    states = [optim.state[item][key] for item in module.parameters() for key in ("exp_avg", "exp_avg_sq", "step")]
    return [*module.parameters(), *states]


@pytest.mark.parametrize(("bad_at", "resumed_at"), [(None, None), (4, None), (None, 3), (1, 4)])
def test_weights_and_moments_are_torchs_bit_for_bit(bad_at: int | None, resumed_at: int | None) -> None:
    ours, theirs = (run(fused=fused, bad_at=bad_at, resumed_at=resumed_at) for fused in (True, False))
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_torchs_step_is_asked_only_when_other_parameters_have_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    theirs = torch.optim.AdamW.step
    monkeypatch.setattr(FusedAdamW, "step", lambda self: (asked.append(1), theirs(self)))
    module = network()
    optim = optimisers(module, fused=True)
    for number in range(6):
        optim.zero_grad(set_to_none=True)
        (module[:3] if number > 2 else module)(torch.ones(1, 3)).sum().backward()
        step(optim)
    assert len(asked) == 2


def test_parameters_of_two_kinds_in_a_group_are_sorted_by_torch() -> None:
    mixed = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).to(torch.bfloat16))
    optim = FusedAdamW([{"params": list(mixed.parameters())}], 0.1)
    before = [item.detach().clone() for item in mixed.parameters()]
    for _ in range(2):
        optim.zero_grad(set_to_none=True)
        mixed[1](mixed[0](torch.ones(1, 2)).to(torch.bfloat16)).sum().backward()
        step(optim)
    assert all(not torch.equal(old, new) for old, new in zip(before, mixed.parameters(), strict=True))


def test_who_listens_to_every_optimisers_steps_hears_all_of_them() -> None:
    heard: list[object] = []
    handle = register_optimizer_step_post_hook(lambda optim, *_: heard.append(optim))
    try:
        module = network()
        optim = optimisers(module, fused=True)
        for _ in range(3):
            module(torch.ones(1, 3)).sum().backward()
            step(optim)
    finally:
        handle.remove()
    assert heard == [optim] * 3
