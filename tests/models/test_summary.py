"""One token is its own summary; of several, those that count are weighed by what they hold."""

from __future__ import annotations

import torch

from sinew.core.types import Features
from sinew.models.heads.config import ONE_TOKEN, FeatureLayout
from sinew.models.summary import Summary


def test_one_token_is_the_summary_bit_by_bit_and_nothing_is_learned() -> None:
    token = torch.randn(4, 1, 8)
    plain, learned = Summary(8, ONE_TOKEN), Summary(8, FeatureLayout(many=True))
    assert not list(plain.parameters())
    assert torch.equal(plain(Features(token)), token[:, 0])
    assert torch.equal(learned(Features(token)), token[:, 0])


def test_padding_changes_nothing_and_the_gradient_reaches_every_weight() -> None:
    torch.manual_seed(0)
    summary, tokens = Summary(8, FeatureLayout(many=True)), torch.randn(3, 5, 8)
    mask = torch.arange(5) < torch.tensor([[5], [3], [1]])
    found = summary(Features(tokens, mask))
    torch.testing.assert_close(found, summary(Features(tokens.masked_fill(~mask[..., None], 1e6), mask)))
    assert torch.equal(found[2], tokens[2, 0])
    found.square().sum().backward()
    assert all(value.grad is not None and value.grad.any() for value in summary.parameters())


def test_the_order_of_tokens_does_not_matter() -> None:
    torch.manual_seed(0)
    summary, tokens = Summary(8, FeatureLayout(many=True)), torch.randn(3, 5, 8)
    torch.testing.assert_close(summary(Features(tokens)), summary(Features(tokens.flip(1))))
