"""How a network is told apart, and how much gradient its parts get."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sinew.engine.config import OptimConfig
from sinew.engine.optim import Optim
from sinew.engine.parts import gradient_rms, parts_of
from toy_policy import tiny_policy


def test_part_with_most_weights_is_split_and_others_are_whole() -> None:
    names = list(parts_of(tiny_policy()))
    assert {"network.vision", "network.language", "head"} <= set(names)
    assert "network" not in names


def test_every_trainable_parameter_is_in_exactly_one_part() -> None:
    policy = tiny_policy()
    policy.network.vision.requires_grad_(requires_grad=False)
    found = [id(item) for members in parts_of(policy).values() for item in members]
    assert sorted(found) == sorted(id(item) for item in policy.parameters() if item.requires_grad)


def test_deep_stacks_are_told_in_ranges() -> None:
    stack = nn.Sequential(*(nn.Linear(4, 4) for _ in range(10)))
    assert list(parts_of(nn.ModuleDict({"body": stack, "head": nn.Linear(4, 1)}))) == [
        "body.0-1",
        "body.2-4",
        "body.5-6",
        "body.7-9",
        "head",
    ]
    assert list(parts_of(nn.Linear(2, 2))) == ["weights"]


def test_rms_is_per_weight_and_counts_missing_gradients_as_zero() -> None:
    one, two, idle = (nn.Parameter(torch.zeros(size)) for size in (3, 1, 2))
    one.grad, two.grad = torch.tensor([1.0, 2.0, 2.0]), torch.tensor([4.0])
    found = gradient_rms({"both": [one, two], "half": [two, nn.Parameter(torch.zeros(3))], "idle": [idle]})
    assert {name: float(rms) for name, rms in found.items()} == pytest.approx({"both": 2.5, "half": 2.0, "idle": 0.0})
    assert gradient_rms({"idle": [idle]}) == {}


@pytest.mark.parametrize("clip", [0.0, 0.01, 1e6])
def test_optimiser_tells_gradients_before_clipping(clip: float) -> None:
    torch.manual_seed(0)
    line = nn.Linear(3, 1)
    optim = Optim(line, OptimConfig(clip=clip), updates=10)
    norm = optim.step(line(torch.ones(2, 3)).square().mean())
    assert float(optim.gradients()["weights"]) == pytest.approx(float(norm) / 2)  # 4 weights
