"""Chunks as token ids and back: a token a value, or few tokens for the whole chunk by FAST."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sinew.core.errors import ConfigError
from sinew.models.actions import ActionRange

if TYPE_CHECKING:
    from collections.abc import Sequence

SMOOTHEST = 1e-3
"""Spread of soft labels, in bins, from which on they are hard ones."""
NEVER = 1 << 20
"""Values that an unused token stands for: more than any chunk has, so it is never allowed."""
BEYOND = 1.5
"""How far outside the range of the data FAST can say a value, where 1 is the edge."""
FIRST_SYMBOL = 0x4E00
"""Code point of the first coefficient in the strings that ``tokenizers`` learns from; a block of letters."""


class ValueTokens(nn.Module):
    """Every continuous value is a token: its bin between the least and the greatest value of the data (RT-1, OpenVLA).

    Differs from OpenVLA (Kim 2024, arXiv:2406.09246) in the range, which is all of the data and not
    its middle 98 %, and in that the ids are the head's own and not the language model's rarest words.

    Args:
        bins: V.
        horizon: H.
        chosen: numbers of the continuous ones among the A actions.
        size: A.
        top: the last bin is the greatest value alone, which is decoded as the one below.
    """

    def __init__(self, bins: int, horizon: int, chosen: Sequence[int], size: int, *, top: bool = False) -> None:
        super().__init__()
        self.even = bins - top
        self.vocabulary, self.horizon, self.size, self.length = bins, horizon, size, horizon * len(chosen)
        self.range = ActionRange(size)
        self.register_buffer("chosen", torch.tensor(list(chosen), dtype=torch.int64), persistent=False)
        self.register_buffer("lengths", torch.ones(bins, dtype=torch.int64), persistent=False)
        self.chosen: Tensor
        self.lengths: Tensor

    def places(self, actions: Tensor) -> Tensor:
        """Return where the continuous ones of actions (B, H, A) lie among the bins, (B, N) in 0 .. V."""
        low, high = self.range.low[self.chosen], self.range.high[self.chosen]
        share = (actions[..., self.chosen] - low) / (high - low)
        return (share * self.even).clamp(0, self.even).flatten(1)

    def encode(self, actions: Tensor) -> Tensor:
        """Return ids (B, N) of actions (B, H, A) at unit scale, step by step."""
        return self.places(actions).long().clamp(max=self.vocabulary - 1)

    def decode(self, ids: Tensor) -> Tensor:
        """Return actions (B, H, A) at unit scale, the middles of the bins; two-valued ones are 0."""
        low, high = self.range.low[self.chosen], self.range.high[self.chosen]
        ids = ids.clamp(max=self.even - 1).unflatten(1, (self.horizon, -1))
        values = low + (ids + 0.5) / self.even * (high - low)
        return _spread(values, self.chosen, self.size)


class FastTokens(nn.Module):
    """FAST (Pertsch 2025, arXiv:2501.09747): cosines over the steps, rounded, and their frequent pairs merged.

    Low frequencies of all actions come first, so that a chunk begins with what matters most. What
    pairs there are is learned from the training chunks by ``tokenizers`` (``fit_chunks``) and kept as
    a table of weights, which is saved with the policy; encoding is a tensor programme that gives the
    ids that ``tokenizers`` gives, on any device. Differs from FAST: values are scaled by the least and
    the greatest of the data instead of quantiles, and only tokens that fit into what is left of
    the chunk are allowed, so every draw is a whole chunk and no end token is needed.

    Args:
        vocabulary: V, at most.
        scale: of the coefficients before they are rounded; larger is finer.
        horizon: H.
        chosen: numbers of the continuous ones among the A actions.
        size: A.
    """

    def __init__(self, vocabulary: int, scale: float, horizon: int, chosen: Sequence[int], size: int) -> None:
        super().__init__()
        self.vocabulary, self.horizon, self.size, self.length = vocabulary, horizon, size, horizon * len(chosen)
        self.scale, self.most = scale, math.ceil(BEYOND * scale * horizon**0.5)
        self.symbols = 2 * self.most + 1
        if vocabulary < self.symbols:
            raise ConfigError(
                f"--policy.head.vocabulary {vocabulary}: {horizon} steps at --policy.head.scale {scale:g} have "
                f"{self.symbols} coefficients already, and the merged ones come on top. Take twice as many."
            )
        self.range = ActionRange(size)
        self.register_buffer("chosen", torch.tensor(list(chosen), dtype=torch.int64), persistent=False)
        self.register_buffer("cosines", _cosines(horizon), persistent=False)
        self.register_buffer("merges", torch.full((vocabulary - self.symbols, 3), -1))
        self.register_buffer("lengths", torch.full((vocabulary,), NEVER))
        self.register_buffer("table", torch.zeros(vocabulary, self.length, dtype=torch.int64))
        self.chosen: Tensor
        self.cosines: Tensor
        self.merges: Tensor
        self.lengths: Tensor
        self.table: Tensor
        self._forget()

    def coefficients(self, actions: Tensor) -> Tensor:
        """Return rounded coefficients (B, N) of actions (B, H, A), lowest frequency first, as symbols from 0."""
        low, high = self.range.low[self.chosen], self.range.high[self.chosen]
        values = (2 * (actions[..., self.chosen] - low) / (high - low) - 1).clamp(-BEYOND, BEYOND)
        found = (self.scale * (self.cosines @ values)).round().clamp(-self.most, self.most)
        return found.flatten(1).long() + self.most

    def encode(self, actions: Tensor) -> Tensor:
        """Return ids (B, N) of actions (B, H, A) at unit scale; -1 behind the last one.

        Merges the pair that was learned first, in every row its own, until nothing can be merged.
        """
        ids = self.coefficients(actions)
        if not len(self.merges):
            return ids
        keys, order = (self.merges[:, 0] * self.vocabulary + self.merges[:, 1]).sort()
        for _ in range(self.length - 1):
            ids = self._merge(ids, keys, order)
        return ids

    def decode(self, ids: Tensor) -> Tensor:
        """Return actions (B, H, A) at unit scale; two-valued ones are 0. The ids (B, M) stand for N coefficients."""
        found = self._symbols(ids).unflatten(1, (self.horizon, -1)).to(self.cosines.dtype) - self.most
        values = self.cosines.T @ (found / self.scale)
        low, high = self.range.low[self.chosen], self.range.high[self.chosen]
        return _spread(low + (values + 1) / 2 * (high - low), self.chosen, self.size)

    @torch.no_grad()
    def fit_chunks(self, chunks: Tensor) -> None:
        """Learn which pairs of symbols are frequent in chunks (count, H, A) at unit scale."""
        from tokenizers import Tokenizer, models, trainers

        rows = self.coefficients(chunks.to(self.cosines.device)).tolist()
        alphabet = [chr(FIRST_SYMBOL + symbol) for symbol in range(self.symbols)]
        trainer = trainers.BpeTrainer(  # type: ignore[call-arg]  (its stub knows no arguments)
            vocab_size=self.vocabulary, initial_alphabet=alphabet, show_progress=False, max_token_length=self.length
        )
        tokenizer = Tokenizer(models.BPE())
        tokenizer.train_from_iterator(["".join(alphabet[symbol] for symbol in row) for row in rows], trainer)
        known = {letter: number for number, letter in enumerate(alphabet)}
        self._forget()
        for number, (left, right) in enumerate(json.loads(tokenizer.to_str())["model"]["merges"]):
            whole = known.setdefault(left + right, self.symbols + number)
            self.merges[number] = torch.tensor([known[left], known[right], whole])
            self.lengths[whole] = len(left + right)
            self.table[whole, : len(left + right)] = torch.tensor([known[letter] for letter in left + right])

    def _forget(self) -> None:
        """Know the single coefficients only."""
        self.merges.fill_(-1)
        self.lengths.fill_(NEVER)[: self.symbols] = 1
        self.table.zero_()[: self.symbols, 0] = torch.arange(self.symbols, device=self.table.device)

    def _merge(self, ids: Tensor, keys: Tensor, order: Tensor) -> Tensor:
        """Return ids (B, N) with the first-learned pair of each row merged, everywhere in it, from the left."""
        left, right = ids[:, :-1], ids[:, 1:]
        wanted = torch.where((left >= 0) & (right >= 0), left * self.vocabulary + right, -2)
        place = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
        rank = torch.where(keys[place] == wanted, order[place], NEVER)
        best = rank.amin(dim=1, keepdim=True)
        found = (rank == best) & (best < NEVER)
        positions = torch.arange(found.shape[1], device=ids.device)
        begun = torch.where(found, -1, positions).cummax(dim=1).values
        taken = found & ((positions - begun) % 2 == 1)  # "aaa" is "aa" and "a", not two overlapping pairs
        merged = self.merges[best.clamp(max=len(keys) - 1), 2]
        whole = torch.where(nn.functional.pad(taken, (0, 1)), merged, ids)
        kept = ~nn.functional.pad(taken, (1, 0)) & (ids >= 0)
        target = torch.where(kept, kept.cumsum(dim=1) - 1, self.length)
        return ids.new_full((len(ids), self.length + 1), -1).scatter(1, target, whole)[:, : self.length]

    def _symbols(self, ids: Tensor) -> Tensor:
        """Return the N symbols (B, N) that ids (B, M) stand for."""
        lengths = torch.where(ids >= 0, self.lengths[ids.clamp(min=0)], 0)
        ends = lengths.cumsum(dim=1)
        places = torch.arange(self.length, device=ids.device)
        token = (ends[:, None, :] <= places[:, None]).sum(dim=-1).clamp(max=ids.shape[1] - 1)
        inside = places - (ends - lengths).gather(1, token)
        return self.table[ids.gather(1, token).clamp(min=0), inside.clamp(0, self.length - 1)]


def soft_labels(places: Tensor, bins: int, spread: float) -> Tensor:
    """Return probabilities (..., bins) of places (...) in 0 .. bins: a bell around each, or its bin alone.

    HL-Gauss (Farebrother 2024, arXiv:2403.03950): neighbouring bins mean nearly the same, which one-hot labels hide.

    Args:
        places: in 0 .. bins.
        bins: V.
        spread: standard deviation of the bell, in bins; 0 for hard labels.
    """
    if spread < SMOOTHEST:
        return nn.functional.one_hot(places.long().clamp(max=bins - 1), bins).to(places.dtype)
    edges = torch.arange(bins + 1, device=places.device, dtype=places.dtype)
    below = torch.special.ndtr((edges - places[..., None]) / spread)
    mass = below.diff(dim=-1)
    return mass / mass.sum(dim=-1, keepdim=True)


def _cosines(horizon: int) -> Tensor:
    """Return the orthonormal DCT-II (H, H); its transpose is its inverse."""
    steps = torch.arange(horizon, dtype=torch.float64)
    table = torch.cos(torch.pi / horizon * (steps + 0.5) * steps[:, None]) * (2 / horizon) ** 0.5
    table[0] /= 2**0.5
    return table.float()


def _spread(values: Tensor, chosen: Tensor, size: int) -> Tensor:
    """Return actions (B, H, A) with values (B, H, chosen) in their places and 0 elsewhere."""
    rows, horizon, _ = values.shape
    index = chosen.expand(rows, horizon, -1)
    return values.new_zeros(rows, horizon, size).scatter(2, index, values)
