"""Muon makes momentum orthogonal, moves as far as AdamW would, leaves the rest to it, and is resumed bit for bit."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

from sinew.core.errors import ConfigError
from sinew.engine.config import OptimConfig
from sinew.engine.muon import MOMENTUM, Muon, inner_matrices, orthogonal
from sinew.engine.optim import Optim

CONFIG = OptimConfig(lr=0.1, weight_decay=0.5, warmup=0.0, clip=0.0, muon=2.0)


class Talker(nn.Module):
    """Words in, a convolution, attention, words out by the same table."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(7, 8)
        self.look = nn.Conv1d(8, 8, 3, padding=1)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.think = nn.Linear(8, 12)
        self.back = nn.Linear(12, 8, bias=False)
        self.place = nn.Parameter(torch.zeros(5, 8))
        self.says = nn.Linear(8, 7, bias=False)

    def get_output_embeddings(self) -> nn.Linear:
        """Return what says words."""
        return self.says

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        seen = self.words(ids) + self.place
        seen = self.look(seen.mT).mT
        seen = seen + self.attend(seen, seen, seen)[0]
        return self.says(seen + self.back(torch.relu(self.think(self.norm(seen)))))


def loss(module: nn.Module, number: int) -> torch.Tensor:
    ids = torch.arange(10).view(2, 5).mul(number + 1) % 7
    return nn.functional.cross_entropy(module(ids).flatten(0, 1), ids.flatten())


def talker() -> Talker:
    torch.manual_seed(0)
    return Talker()


@pytest.mark.parametrize("shape", [(3, 6, 6), (2, 4, 9), (2, 9, 4)])
def test_singular_values_come_near_one_and_the_directions_stay(shape: tuple[int, int, int]) -> None:
    given = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    left, sizes, right = torch.linalg.svd(given, full_matrices=False)
    found = left.mT @ orthogonal(given) @ right.mT
    kept = found.diagonal(dim1=1, dim2=2)
    assert ((kept > 0.65) & (kept < 1.25))[sizes > 0.02 * sizes[:, :1]].all()
    torch.testing.assert_close(found, torch.diag_embed(kept), atol=1e-5, rtol=0)


def test_matrices_within_are_its_own_and_words_places_norms_and_biases_are_not() -> None:
    wanted = {"look.weight", "attend.in_proj_weight", "attend.out_proj.weight", "think.weight", "back.weight"}
    assert inner_matrices(talker()) == wanted


def test_a_step_is_what_torchs_own_takes() -> None:
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon")
    ours, theirs = talker().think.weight, talker().think.weight
    one = Muon([{"params": [ours], "weight_decay": 0.5}], 0.02)
    other = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.5, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw")
    for number in range(4):
        gradient = torch.randn(12, 8, generator=torch.Generator().manual_seed(number))
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        one.step()
        other.step()
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)  # theirs is made orthogonal in bfloat16


def test_a_first_step_by_hand() -> None:
    module = talker()
    before = module.think.weight.detach().clone()
    optim = Optim(module, CONFIG, 10)
    optim.step(loss(module, 0))
    gradient = module.think.weight.grad
    assert gradient is not None
    move = orthogonal(gradient[None])[0] * 0.1 * 2.0 * 0.2 * math.sqrt(12)
    torch.testing.assert_close(module.think.weight, before * (1 - 0.1 * 2.0 * 0.5) - move, atol=1e-5, rtol=1e-4)
    assert module.words.weight in optim.adamw.state
    assert module.think.weight not in optim.adamw.state


def test_a_run_goes_on_bit_for_bit() -> None:
    straight, stopped = talker(), talker()
    one, two = Optim(straight, CONFIG, 6), Optim(stopped, CONFIG, 6)
    for number in range(6):
        one.step(loss(straight, number))
    for number in range(3):
        two.step(loss(stopped, number))
    resumed = talker()
    resumed.load_state_dict(stopped.state_dict())
    again = Optim(resumed, CONFIG, 6)
    again.load_state_dict(two.state_dict())
    for number in range(3, 6):
        again.step(loss(resumed, number))
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), resumed.parameters(), strict=True))


@pytest.mark.parametrize("on_device", [False, True], ids=["the host looks", "the device decides"])
def test_a_step_that_is_not_finite_changes_nothing(on_device: bool) -> None:
    module = talker()
    optim = Optim(module, CONFIG, 10)
    optim.step(loss(module, 0))
    optim.waits = not on_device
    before = [item.detach().clone() for item in module.parameters()]
    kept = [state["momentum"].clone() for state in optim.muon.state.values()] if optim.muon else []
    optim.step(loss(module, 1) * math.nan)
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
    assert optim.muon is not None
    assert all(torch.equal(a, b["momentum"]) for a, b in zip(kept, optim.muon.state.values(), strict=True))
    assert int(optim.bad_total) == 1


def test_it_learns_and_without_it_nothing_is_changed() -> None:
    module = talker()
    optim = Optim(module, dataclasses.replace(CONFIG, lr=0.01, weight_decay=0.0, clip=1.0), 60)
    first = loss(module, 1).item()
    for _ in range(60):
        optim.step(loss(module, 1))
    assert loss(module, 1).item() < 0.2 * first
    assert Optim(talker(), dataclasses.replace(CONFIG, muon=None), 5).muon is None


def test_nothing_but_matrices_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--optim.muon 2.0: nothing but matrices learns here"):
        Optim(nn.Linear(3, 3, bias=False), CONFIG, 5)


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--optim.muon 0.0: wanted a share of the learning rate above 0"):
        Optim(talker(), dataclasses.replace(CONFIG, muon=0.0), 5)


def test_shards_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"with fsdp2 ranks hold shards of them"):
        Optim(talker(), dataclasses.replace(CONFIG, parallel="fsdp2"), 5)
