"""Words to features: a locally trained word tokenizer and a small transformer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from sinew.core.spoken import spoken

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from sinew.models.config import LanguageConfig

PAD, UNKNOWN = "[PAD]", "[UNK]"


def train_tokenizer(sentences: Iterable[str]) -> Tokenizer:
    """Return a lower-casing word tokenizer that knows every word of the sentences."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(special_tokens=[PAD, UNKNOWN], show_progress=False)
    tokenizer.train_from_iterator(sorted(set(sentences)), trainer)
    return tokenizer


@dataclass(frozen=True)
class Words:
    """B sentences as features.

    Attributes:
        tokens: (B, N, D) words in context.
        plain: (B, N, D) words by themselves.
        mask: (B, N) bool, True for real words.
    """

    tokens: Tensor
    plain: Tensor
    mask: Tensor

    def repeat(self, count: int) -> Words:
        """Return every sentence ``count`` times in a row."""
        if count == 1:
            return self
        return Words(*(part.repeat_interleave(count, 0) for part in (self.tokens, self.plain, self.mask)))


class WordIds:
    """Turns instructions into ids, remembering those it has seen.

    Args:
        tokenizer: that knows the words.
        max_tokens: longest instruction; longer ones are cut.
        padding: id of padding.
        ending: what every instruction ends with; added where it does not.
        template: what is said in place of an instruction, which stands in small letters where it has {}.
    """

    def __init__(
        self, tokenizer: Tokenizer, max_tokens: int, padding: int = 0, ending: str = "", template: str = ""
    ) -> None:
        self.tokenizer, self.ending, self.template = tokenizer, ending, template
        self.max_tokens = max_tokens
        self.padding = padding
        self.known: dict[str, list[int]] = {}

    def __call__(self, instructions: Sequence[str]) -> Tensor:
        """Return ids (B, N) int64, padded; an empty instruction is one padding id."""
        rows = [self._ids(sentence) for sentence in instructions]
        longest = max(1, max(len(row) for row in rows))
        return torch.tensor([row + [self.padding] * (longest - len(row)) for row in rows])

    def _ids(self, sentence: str) -> list[int]:
        ids = self.known.get(sentence)
        if ids is None:
            whole = spoken(sentence, self.template, self.ending)
            ids = self.known[sentence] = self.tokenizer.encode(whole).ids[: self.max_tokens]
        return ids


class Block(nn.Module):
    """A pre-norm transformer block (Vaswani 2017, Xiong 2020)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Return tokens (B, N, D); ``mask`` marks those that may be looked at, by all (B, N) or by each (B, N, N)."""
        rows, count, width = tokens.shape
        query, key, value = self.qkv(self.norm(tokens)).view(rows, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if mask is not None:
            mask = mask[:, None, None, :] if mask.ndim == 2 else mask[:, None]
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        tokens = tokens + self.out(mixed.transpose(1, 2).reshape(rows, count, width))
        return tokens + self.mlp(tokens)


class LanguageEncoder(nn.Module):
    """A small transformer over words.

    Args:
        config: its sizes.
        vocabulary: V, number of word ids.
    """

    def __init__(self, config: LanguageConfig, vocabulary: int) -> None:
        super().__init__()
        self.width = config.width
        self.embed = nn.Embedding(vocabulary, config.width)
        self.position = nn.Parameter(0.02 * torch.randn(config.max_tokens, config.width))
        self.blocks = nn.ModuleList([Block(config.width, config.heads) for _ in range(config.layers)])
        self.norm = nn.LayerNorm(config.width)
        nn.init.normal_(self.embed.weight, std=0.5)

    def forward(self, ids: Tensor) -> Words:
        """Return what the words of ids (B, N) mean; id 0 is padding.

        The first position counts even when it is padding, so that an empty instruction has a feature.
        """
        mask = ids != 0
        mask[:, 0] = True
        plain = self.embed(ids)
        tokens = plain + self.position[: ids.shape[1]]
        for block in self.blocks:
            tokens = block(tokens, mask)
        return Words(self.norm(tokens), plain, mask)


class Pool(nn.Module):
    """K learned queries that each attend over the words and return one vector.

    What to look at depends on the whole sentence, so the keys are features in context. With
    ``plain`` the values are the words themselves: "red" then adds the same to every query, whatever
    noun follows, and pairs of words that were never heard together still mean something.

    Args:
        width: D.
        queries: K.
        plain: whether to return words out of context.
    """

    def __init__(self, width: int, queries: int, *, plain: bool = False) -> None:
        super().__init__()
        self.plain = plain
        self.query = nn.Parameter(torch.randn(queries, width) / width**0.5)
        self.key = nn.Linear(width, width)

    def forward(self, words: Words) -> Tensor:
        """Return (B, K, D)."""
        scores = (self.key(words.tokens) @ self.query.T).masked_fill(~words.mask[..., None], float("-inf"))
        return scores.softmax(dim=1).transpose(1, 2) @ (words.plain if self.plain else words.tokens)
