"""From an encoder's tokens to tokens of another width: by themselves, among themselves, or read by latents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from sinew.core.errors import CheckpointError, ConfigError
from sinew.models.language import Block
from sinew.models.llava import read_part
from sinew.models.pretrained import fetch
from sinew.models.projector_config import MlpProjectorConfig, PerceiverProjectorConfig

if TYPE_CHECKING:
    from sinew.models.projector_config import AnyProjectorConfig, AttentionProjectorConfig


LLAVA = {f"linear_{ours}.{kind}": f"{place}.{kind}" for ours, place in ((1, 0), (2, 2)) for kind in ("weight", "bias")}
"""Names of Llava's projector, and ours."""


def build_projector(config: AnyProjectorConfig, width: int, out: int, tokens: int) -> AnyProjector:
    """Return a projector from N = ``tokens`` of size ``width`` to tokens of size ``out``.

    Raises:
        ConfigError: a size is not positive, or the heads do not divide the width.
    """
    if isinstance(config, MlpProjectorConfig):
        return MlpProjector(config, width, out, tokens)
    if out % config.heads:
        raise ConfigError(
            f"the {config.kind} projector has {config.heads} heads, which do not divide the width {out}. "
            "Set --policy.projector.heads to one that does."
        )
    if isinstance(config, PerceiverProjectorConfig):
        return PerceiverProjector(config, width, out, tokens)
    return AttentionProjector(config, width, out, tokens)


class MlpProjector(nn.Module):
    """Each token by itself through two layers (LLaVA-1.5, Liu 2023, arXiv:2310.03744, section 3.3).

    Args:
        config: sizes.
        width: D. out: E.
        tokens: N.
    """

    def __init__(self, config: MlpProjectorConfig, width: int, out: int, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens
        hidden, wide = max(1, round(config.hidden * out)), round((config.widened or 0.0) * width)
        before = [nn.Linear(width, wide), nn.GELU()] if wide else []
        self.layers = nn.Sequential(*before, nn.Linear(wide or width, hidden), nn.GELU(), nn.Linear(hidden, out))
        if config.path:
            self._begin_with(config.path)

    def _begin_with(self, path: str) -> None:
        """Take the weights of a vision-language model's projector.

        Raises:
            CheckpointError: it has none, or one of other sizes; both are shown.
        """
        theirs, ours = read_part(fetch(path), "projector"), self.layers.state_dict()
        taken = {LLAVA.get(name, name): value for name, value in theirs.items()}
        shapes = [{name: tuple(value.shape) for name, value in side.items()} for side in (taken, ours)]
        if shapes[0] != shapes[1]:
            raise CheckpointError(
                f"{path}: its projector has {shapes[0]}, here it is {shapes[1]}. Set the sizes alike."
            )
        self.layers.load_state_dict(taken)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens (B, N, E) of tokens (B, N, D)."""
        return self.layers(tokens)


class AttentionProjector(nn.Module):
    """Tokens see the others of their image on the way: blocks of self-attention at the new width.

    Nothing says where a token is beyond what its encoder put into it, so learned positions are added.

    Args:
        config: sizes.
        width: D. out: E.
        tokens: N.
    """

    def __init__(self, config: AttentionProjectorConfig, width: int, out: int, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.enter = nn.Linear(width, out)
        self.position = nn.Parameter(0.02 * torch.randn(tokens, out))
        self.blocks = nn.ModuleList([Block(out, config.heads) for _ in range(config.layers)])
        self.norm = nn.LayerNorm(out)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens (B, N, E) of tokens (B, N, D)."""
        hidden = self.enter(tokens) + self.position
        for block in self.blocks:
            hidden = block(hidden, None)
        return self.norm(hidden)


class PerceiverProjector(nn.Module):
    """Latents read an image in rounds (the resampler of Flamingo, Alayrac 2022, arXiv:2204.14198, figure 5).

    As there, keys and values are those of the image and of the latents themselves.

    Args:
        config: sizes; M is ``latents``.
        width: D. out: E.
        tokens: N.
    """

    def __init__(self, config: PerceiverProjectorConfig, width: int, out: int, tokens: int) -> None:
        super().__init__()
        self.tokens = config.latents
        self.enter = nn.Linear(width, out)
        self.position = nn.Parameter(0.02 * torch.randn(tokens, out))
        self.latents = nn.Parameter(out**-0.5 * torch.randn(config.latents, out))
        self.rounds = nn.ModuleList([CrossBlock(out, config.heads) for _ in range(config.layers)])
        self.norm = nn.LayerNorm(out)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens (B, M, E) of tokens (B, N, D)."""
        seen = self.enter(tokens) + self.position
        latents = self.latents.expand(len(tokens), -1, -1)
        for block in self.rounds:
            latents = block(latents, torch.cat([seen, latents], dim=1), None)
        return self.norm(latents)


class CrossBlock(nn.Module):
    """A pre-norm block in which some tokens read others (Vaswani 2017, Xiong 2020).

    Args:
        width: D of both.
        heads: attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm_read = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, tokens: Tensor, read: Tensor, mask: Tensor | None) -> Tensor:
        """Return tokens (B, M, D) that have read ``read`` (B, N, D); ``mask`` (B, N) bool marks what may be read."""
        rows, count, width = tokens.shape
        query = self.query(self.norm(tokens)).view(rows, count, self.heads, -1).transpose(1, 2)
        both = self.key_value(self.norm_read(read)).view(rows, read.shape[1], 2, self.heads, -1)
        key, value = both.permute(2, 0, 3, 1, 4)
        allowed = None if mask is None else mask[:, None, None, :]
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        tokens = tokens + self.out(mixed.transpose(1, 2).reshape(rows, count, width))
        return tokens + self.mlp(tokens)


AnyProjector = MlpProjector | AttentionProjector | PerceiverProjector
"""Each has ``tokens``, the number M that leave for an image."""
