"""How what is seen, said and felt becomes the features of an action head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sinew.core.errors import ConfigError
from sinew.core.types import Features
from sinew.models.encoder_config import (
    ConcatFusionConfig,
    CrossFusionConfig,
    FilmFusionConfig,
    TransformerFusionConfig,
)
from sinew.models.language import Block, Pool, Words
from sinew.models.projectors import CrossBlock

if TYPE_CHECKING:
    from sinew.models.encoder_config import AnyTokenFusionConfig


class ConcatFusion(nn.Module):
    """Late fusion: one vector of what is seen, one of what is said, and numbers, joined by an MLP to one token.

    Args:
        config: sizes.
        width: D.
        extra: whether a token of numbers comes, too.
    """

    many = False

    def __init__(self, config: ConcatFusionConfig, width: int, *, extra: bool) -> None:
        super().__init__()
        hidden = max(1, round(config.hidden * width))
        self.seen, self.said = Pool(width, 1), Pool(width, 1)
        self.join = nn.Sequential(nn.Linear((2 + extra) * width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, seen: Tensor, said: Words, felt: Tensor | None) -> Features:
        """Return one token (B, 1, D); see ``AnyFusion``."""
        tokens = seen.flatten(1, 2)
        everything = Words(tokens, tokens, tokens.new_ones(tokens.shape[:2], dtype=torch.bool))
        parts = [self.seen(everything), self.said(said), *([] if felt is None else [felt])]
        return Features(self.join(torch.cat(parts, dim=-1)))


class CrossFusion(nn.Module):
    """What is seen reads what is said and felt by cross-attention (Vaswani 2017), round after round.

    Images do not see each other here; the head's own attention joins them.

    Args:
        config: sizes.
        width: D.
        extra: whether a token of numbers comes, too.
    """

    many = True

    def __init__(self, config: CrossFusionConfig, width: int, *, extra: bool) -> None:
        super().__init__()
        del extra
        self.rounds = nn.ModuleList([CrossBlock(width, config.heads) for _ in range(config.layers)])
        self.norm = nn.LayerNorm(width)

    def forward(self, seen: Tensor, said: Words, felt: Tensor | None) -> Features:
        """Return the tokens of all images (B, V M, D), then that of the numbers; see ``AnyFusion``."""
        tokens = seen.flatten(1, 2)
        read, mask = _joined([said.tokens, felt], said.mask)
        for block in self.rounds:
            tokens = block(tokens, read, mask)
        return Features(self.norm(tokens if felt is None else torch.cat([tokens, felt], dim=1)))


class TransformerFusion(nn.Module):
    """Early fusion: all tokens in one transformer; readouts read the others and are read by none.

    Octo (Ghosh 2024, arXiv:2405.12213) has readouts; unlike there attention is not causal over time, as
    the newest tick is the only one that is acted on.

    Args:
        config: sizes.
        width: D.
        extra: whether a token of numbers comes, too.
    """

    def __init__(self, config: TransformerFusionConfig, width: int, *, extra: bool) -> None:
        super().__init__()
        del extra
        self.many = config.readouts != 1
        self.blocks = nn.ModuleList([Block(width, config.heads) for _ in range(config.layers)])
        self.norm = nn.LayerNorm(width)
        self.readouts = nn.Parameter(0.02 * torch.randn(config.readouts, width)) if config.readouts else None
        self.kinds = nn.Parameter(0.02 * torch.randn(2, width))

    def forward(self, seen: Tensor, said: Words, felt: Tensor | None) -> Features:
        """Return all tokens, or the readouts (B, R, D); see ``AnyFusion``."""
        rows, tokens = len(seen), seen.flatten(1, 2) + self.kinds[0]
        ones = said.mask.new_ones(rows, tokens.shape[1])
        parts, masks = [tokens, said.tokens + self.kinds[1]], [ones, said.mask]
        if felt is not None:
            parts.append(felt)
            masks.append(said.mask.new_ones(rows, 1))
        everything, mask = torch.cat(parts, dim=1), torch.cat(masks, dim=1)
        if self.readouts is None:
            for block in self.blocks:
                everything = block(everything, mask)
            return Features(self.norm(everything), mask)
        count = len(self.readouts)
        everything = torch.cat([everything, self.readouts.expand(rows, -1, -1)], dim=1)
        allowed = self._allowed(mask, count)
        for block in self.blocks:
            everything = block(everything, allowed)
        return Features(self.norm(everything[:, -count:]))

    @staticmethod
    def _allowed(mask: Tensor, count: int) -> Tensor:
        """Return who may look at whom, (B, N + R, N + R): readouts at all, the others at all but readouts."""
        size = mask.shape[1] + count
        readout = torch.arange(size, device=mask.device) >= mask.shape[1]
        real = torch.cat([mask, mask.new_ones(len(mask), count)], dim=1)
        return real[:, None, :] & (readout[:, None] | ~readout[None, :])


class FilmFusion(nn.Module):
    """What is said scales and shifts what is seen; few learned tokens are kept (RT-1, Brohan 2022, arXiv:2212.06817).

    Unlike there, which modulates an EfficientNet inside, the blocks stand behind any encoder. They begin
    as if nothing was said, so that a pretrained encoder is not disturbed at first.

    Args:
        config: sizes.
        width: D.
        extra: whether a token of numbers comes, too.
    """

    many = True

    def __init__(self, config: FilmFusionConfig, width: int, *, extra: bool) -> None:
        super().__init__()
        del extra
        self.sentence = Pool(width, 1)
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(config.blocks)])
        self.films = nn.ModuleList([nn.Linear(width, 2 * width) for _ in range(config.blocks)])
        self.layers = nn.ModuleList(
            [nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)) for _ in range(config.blocks)]
        )
        for film in self.films:
            nn.init.zeros_(film.weight)  # type: ignore[arg-type]
            nn.init.zeros_(film.bias)  # type: ignore[arg-type]
        self.keep = nn.Linear(width, config.tokens) if config.tokens else None
        self.blocks = nn.ModuleList([Block(width, config.heads) for _ in range(config.layers)])
        self.norm = nn.LayerNorm(width)

    def forward(self, seen: Tensor, said: Words, felt: Tensor | None) -> Features:
        """Return K or M tokens of each image (B, V K, D), then that of the numbers; see ``AnyFusion``."""
        sentence = self.sentence(said)[:, None]
        for norm, film, layer in zip(self.norms, self.films, self.layers, strict=True):
            scale, shift = film(sentence).chunk(2, dim=-1)
            seen = seen + layer(torch.addcmul(shift, norm(seen), 1 + scale))
        if self.keep is not None:
            seen = self.keep(seen).softmax(dim=2).transpose(2, 3) @ seen
        tokens = seen.flatten(1, 2)
        tokens = tokens if felt is None else torch.cat([tokens, felt], dim=1)
        for block in self.blocks:
            tokens = block(tokens, None)
        return Features(self.norm(tokens))


AnyFusion = ConcatFusion | CrossFusion | TransformerFusion | FilmFusion
"""Each takes what is seen (B, V, M, D) in V views, what is said (B, N) words, both at width D, and a token of numbers
(B, 1, D) or None. ``many`` says whether more than one token can leave."""


def build_fusion(config: AnyTokenFusionConfig, width: int, *, extra: bool) -> AnyFusion:
    """Return the fusion of these settings at width D.

    Raises:
        ConfigError: its heads do not divide the width.
    """
    if isinstance(config, ConcatFusionConfig):
        return ConcatFusion(config, width, extra=extra)
    if width % config.heads:
        raise ConfigError(
            f"the {config.kind} fusion has {config.heads} heads, which do not divide --policy.width {width}. "
            "Set --policy.fusion.heads to one that does."
        )
    if isinstance(config, CrossFusionConfig):
        return CrossFusion(config, width, extra=extra)
    if isinstance(config, FilmFusionConfig):
        return FilmFusion(config, width, extra=extra)
    return TransformerFusion(config, width, extra=extra)


def _joined(parts: list[Tensor | None], mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return words and, where there is one, a further token that always counts, with their mask."""
    there = [part for part in parts if part is not None]
    extra = sum(part.shape[1] for part in there[1:])
    return torch.cat(there, dim=1), torch.cat([mask, mask.new_ones(len(mask), extra)], dim=1)
