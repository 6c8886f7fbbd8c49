"""What the ledger counts is what can be counted by hand."""

from __future__ import annotations

import torch
from torch import nn

from sinew.engine.ledger import Ledger, storage_bytes


def test_a_forward_pass_keeps_what_backward_needs_and_frees_the_rest() -> None:
    layers = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    x = torch.randn(10, 4)
    with Ledger() as ledger:
        y = layers(x)
        assert ledger.live == 10 * 8 * 4 + 10 * 2 * 4  # what ReLU returned, and y
        assert ledger.peak == 2 * 10 * 8 * 4  # the hidden layer before and after ReLU, once
        del y
    assert ledger.live == 0


def test_gradients_stay_until_they_are_cleared() -> None:
    layer = nn.Linear(4, 8)
    with Ledger() as ledger:
        layer(torch.zeros(3, 4)).sum().backward()
        assert ledger.live == (4 * 8 + 8) * 4
        layer.zero_grad()
        assert ledger.live == 0


def test_what_was_there_before_is_not_counted() -> None:
    there = torch.zeros(100)
    with Ledger() as ledger:
        there.add_(1)
        view = there[:10]
        assert ledger.live == 0
        copied = view.clone()
        assert ledger.live == copied.nbytes == 40


def test_operations_are_those_of_the_products() -> None:
    layer = nn.Linear(4, 8, bias=False)
    x = torch.randn(10, 4, requires_grad=True)
    with Ledger() as ledger:
        layer(x).sum().backward()
    assert ledger.flops == 3 * 2 * 10 * 4 * 8  # forward, and a product each for the gradients of x and of the weights


def test_attention_is_counted_on_a_cpu() -> None:
    query, key = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 7, 8)
    with Ledger() as ledger:
        nn.functional.scaled_dot_product_attention(query, key, key)
    assert ledger.flops == 2 * 2 * 3 * 5 * 7 * (8 + 8)


def test_it_runs_without_data() -> None:
    layer = nn.Linear(4, 8, device="meta")
    with Ledger() as ledger:
        layer(torch.zeros(3, 4, device="meta")).sum().backward()
        assert ledger.live == (4 * 8 + 8) * 4


def test_shared_memory_is_counted_once() -> None:
    whole = torch.zeros(10)
    assert storage_bytes({"a": whole, "b": [whole[:5], torch.zeros(2)]}) == 48
