"""Whole copies of shared modules have all numbers; layers that belong together are found."""

from __future__ import annotations

import torch
from torch import nn

from sinew.engine.acting import WholeCopy, blocks, emptied


def network() -> nn.Module:
    """Return a stem, two layers alike, and a head that shares the stem's weight."""
    stem, head = nn.Linear(3, 3), nn.Linear(3, 3)
    head.weight = stem.weight
    layers = nn.ModuleList([nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)) for _ in range(2)])
    return nn.ModuleDict({"stem": stem, "layers": layers, "head": head})


def test_an_emptied_copy_has_all_shapes_and_ties_and_no_memory() -> None:
    module = network()
    bare = emptied(module, "meta")
    assert {item.device.type for item in bare.parameters()} == {"meta"}
    assert [item.shape for item in bare.parameters()] == [item.shape for item in module.parameters()]
    assert bare["head"].weight is bare["stem"].weight  # pyright: ignore


def test_a_filled_copy_acts_as_the_module_does_and_is_always_the_same() -> None:
    module = network()
    copy = WholeCopy(module)
    for layer in module["layers"]:  # pyright: ignore
        layer(torch.randn(8, 3))  # moves the running means
    filled = copy.fill((name, item.detach()) for name, item in module.named_parameters())
    torch.testing.assert_close(filled.state_dict(), module.state_dict(), rtol=0, atol=0)
    assert filled is copy.fill([("stem.bias", torch.zeros(3))])
    assert not filled.training
    assert not any(item.requires_grad for item in filled.parameters())
    assert float(filled["stem"].bias.detach().abs().sum()) == 0.0  # pyright: ignore


def test_layers_of_a_list_are_blocks_and_a_list_of_different_ones_is_none() -> None:
    module = network()
    assert blocks(module) == list(module["layers"])  # pyright: ignore
    assert blocks(nn.ModuleList([nn.Linear(1, 1), nn.LayerNorm(1)])) == []
