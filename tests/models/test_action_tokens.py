"""Bins and FAST: what is lost on the way there and back, and the same ids as tokenizers gives."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, models
from torch import Tensor

from sinew.core.errors import ConfigError
from sinew.models.action_tokens import FIRST_SYMBOL, FastTokens, ValueTokens, soft_labels


def paths(count: int) -> Tensor:
    """Smooth chunks (count, 6, 3) within -1 .. 1, the last action two-valued."""
    random = torch.Generator().manual_seed(0)
    slope, start = 2 * torch.rand(2, count, 1, 2, generator=random) - 1
    chunk = (start + slope * torch.linspace(0, 1, 6)[None, :, None]).clamp(-1, 1)
    return torch.cat([chunk, torch.ones(count, 6, 1)], dim=-1)


def fitted(vocabulary: int = 256) -> FastTokens:
    tokens = FastTokens(vocabulary, 10.0, 6, (0, 1), 3)
    tokens.range.fit(-torch.ones(3), torch.ones(3))
    tokens.fit_chunks(paths(400))
    return tokens


def test_a_bin_is_off_by_half_its_width_at_most_and_the_range_is_the_data_s() -> None:
    tokens = ValueTokens(256, 6, (0, 1), 3)
    tokens.range.fit(torch.tensor([-1.0, -2.0, 0.0]), torch.tensor([1.0, 2.0, 1.0]))
    chunk = paths(50) * torch.tensor([1.0, 2.0, 1.0])
    ids = tokens.encode(chunk)
    assert ids.shape == (50, 12)
    error = (tokens.decode(ids) - chunk).abs()[..., :2].amax(dim=(0, 1))
    assert (error <= torch.tensor([1.0, 2.0]) / 256 + 1e-6).all()
    assert tokens.encode(9 * torch.ones(1, 6, 3)).unique().tolist() == [255]


def test_soft_labels_are_probabilities_around_the_value_and_hard_ones_its_bin() -> None:
    places = torch.tensor([0.0, 3.2, 7.99])
    soft = soft_labels(places, 8, 1.0)
    torch.testing.assert_close(soft.sum(dim=-1), torch.ones(3))
    assert soft.argmax(dim=-1).tolist() == [0, 3, 7]
    middle = soft_labels(torch.tensor(16.3), 32, 2.0) @ (torch.arange(32.0) + 0.5)
    assert float(middle) == pytest.approx(16.3, abs=0.01)
    assert torch.equal(soft_labels(places, 8, 0.0).argmax(dim=-1), torch.tensor([0, 3, 7]))


def test_fast_gives_a_chunk_back_up_to_rounding() -> None:
    tokens, chunk = fitted(), paths(50)
    error = (tokens.decode(tokens.encode(chunk)) - chunk)[..., :2].flatten(1)
    assert float(error.norm(dim=1).max()) <= 12**0.5 * 0.5 / 10 + 1e-5  # an orthonormal transform keeps lengths


def test_fast_says_smooth_chunks_in_few_tokens() -> None:
    tokens = fitted()
    used = (tokens.encode(paths(50)) >= 0).sum(dim=1).float().mean()
    assert float(used) < 0.6 * tokens.length
    tokens._forget()
    assert bool((tokens.encode(paths(50)) >= 0).all())


def test_fast_gives_the_ids_that_tokenizers_gives() -> None:
    tokens, chunk = fitted(), paths(60)
    letters = [chr(FIRST_SYMBOL + symbol) for symbol in range(tokens.symbols)]
    words = list(letters)
    merges: list[tuple[str, str]] = []
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    for left, right, whole in tokens.merges[tokens.merges[:, 0] >= 0].tolist():
        words += [""] * (whole + 1 - len(words))
        words[whole] = words[left] + words[right]
        merges.append((words[left], words[right]))
        vocabulary[words[whole]] = whole
    theirs = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    ours = tokens.encode(chunk)
    for row, symbols in zip(ours.tolist(), tokens.coefficients(chunk).tolist(), strict=True):
        assert [item for item in row if item >= 0] == theirs.encode("".join(letters[s] for s in symbols)).ids
    assert len(merges) > 50


def test_the_same_symbol_many_times_is_merged_from_the_left() -> None:
    tokens = FastTokens(256, 1.0, 5, (0,), 1)
    tokens.merges[0] = torch.tensor([2, 2, tokens.symbols])
    tokens.lengths[tokens.symbols] = 2
    keys, order = (tokens.merges[:, 0] * 256 + tokens.merges[:, 1]).sort()
    merged = tokens._merge(torch.tensor([[2, 2, 2, 1, 2], [1, 2, 2, 2, 2]]), keys, order)
    whole = tokens.symbols
    assert merged.tolist() == [[whole, 2, 1, 2, -1], [1, whole, whole, -1, -1]]


def test_too_small_a_vocabulary_is_refused_with_what_it_must_hold() -> None:
    with pytest.raises(ConfigError, match="61 coefficients"):
        FastTokens(32, 10.0, 4, (0,), 1)
