"""Networks that see a noisy chunk, its time and the features: what flow and diffusion learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from sinew.core.errors import ConfigError
from sinew.models.interleaved import InterleavedField
from sinew.models.interleaved_config import InterleavedConfig
from sinew.models.rotary import rotate
from sinew.models.unet import ChunkUnet
from sinew.models.unet_config import UnetConfig

if TYPE_CHECKING:
    from sinew.core.types import Features
    from sinew.models.heads.config import CacheLayout, FeatureLayout

Memory = tuple[Tensor, ...]
"""What a field needs of an observation, each (B, ...), the summary (B, D) first. Made once, used at every step."""

Expert = Literal["cross", "joint", "interleaved", "unet"]
TIME_FEATURES = 16
UNET_STEPS = 100
"""Steps of noise that the U-Net's sines of time are made for."""
HEAD_SIZE = 32
"""Width of one attention head of a ``CrossField``."""


@dataclass(frozen=True)
class FieldSizes:
    """Sizes of a field.

    Attributes:
        features: D. horizon: H. actions: A. width: of the hidden layers. layers: how many.
        unet: sizes of a U-Net, where they do not follow from these. interleaved: those of an interleaved expert.
        feels: a joint expert has a step for the features' state.
    """

    features: int
    horizon: int
    actions: int
    width: int
    layers: int
    unet: UnetConfig | None = None
    interleaved: InterleavedConfig | None = None
    feels: bool = False


class MlpField(nn.Module):
    """Residual layers over the whole chunk at once; of the features it sees the summary.

    Args:
        sizes: of everything.
    """

    def __init__(self, sizes: FieldSizes) -> None:
        super().__init__()
        width, flat = sizes.width, sizes.horizon * sizes.actions
        self.shape = (sizes.horizon, sizes.actions)
        self.enter = nn.Linear(flat + sizes.features + TIME_FEATURES, width)
        self.blocks = nn.ModuleList([feed_forward(width, 2) for _ in range(sizes.layers)])
        self.leave = nn.Linear(width, flat)

    def remember(self, features: Features, summary: Tensor) -> Memory:
        """Return the summary (B, D)."""
        del features
        return (summary,)

    def forward(self, memory: Memory, chunk: Tensor, time: Tensor) -> Tensor:
        """Return (B, H, A) at chunk (B, H, A) and time (B,) in 0 .. 1."""
        hidden = self.enter(torch.cat([chunk.flatten(1), memory[0], time_features(time)], dim=-1))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.leave(hidden).unflatten(-1, self.shape)


class CrossField(nn.Module):
    """A transformer over the steps of the chunk that looks at all tokens (as in DiT, Peebles 2023, arXiv:2212.09748).

    Differs from DiT's adaptive norms: time is added to every step as in pi0, and the features come in by
    cross-attention. Keys and values of the tokens do not depend on time, so they are made once an observation.

    Args:
        sizes: of everything; ``width`` is a multiple of 32.
    """

    def __init__(self, sizes: FieldSizes) -> None:
        super().__init__()
        if sizes.width % HEAD_SIZE:
            raise ConfigError(f"--policy.head.width {sizes.width}: a cross expert wants a multiple of {HEAD_SIZE}.")
        self.steps = Steps(sizes)
        self.keys = nn.ModuleList([nn.Linear(sizes.features, 2 * sizes.width) for _ in range(sizes.layers)])
        self.blocks = nn.ModuleList([CrossBlock(sizes.width) for _ in range(sizes.layers)])

    def remember(self, features: Features, summary: Tensor) -> Memory:
        """Return summary (B, D), mask (B, N) and the keys and values (B, N, 2 width) of each layer."""
        return (summary, whole_mask(features), *(layer(features.tokens) for layer in self.keys))

    def forward(self, memory: Memory, chunk: Tensor, time: Tensor) -> Tensor:
        """Return (B, H, A) at chunk (B, H, A) and time (B,) in 0 .. 1."""
        _, mask, *seen = memory
        hidden = self.steps.enter(chunk, time)
        for block, tokens in zip(self.blocks, seen, strict=True):
            hidden = block(hidden, tokens, mask)
        return self.steps.leave(hidden)


class JointField(nn.Module):
    """An expert that shares every attention layer with a language model, as in pi0 (Black 2024, arXiv:2410.24164).

    Layer by layer the steps of the chunk look at the language model's keys and values and at each
    other; nobody looks at them, so the language model runs once, whatever the number of steps. The
    expert's width is its own, the size of keys and values is the language model's. Differs from pi0
    in that state comes with the features, unless it feels; then a step before the others is made of it.

    Args:
        sizes: of everything; ``layers`` is not used, there are as many as the language model has.
        cache: what the language model leaves behind.
        state: S of the features' state.

    Raises:
        ConfigError: it feels, and there is no state.
    """

    def __init__(self, sizes: FieldSizes, cache: CacheLayout, state: int = 0) -> None:
        super().__init__()
        if sizes.feels and not state:
            raise ConfigError(
                "--policy.head.feels: nothing is felt here. Leave it out, or set --policy.state or --policy.grounding."
            )
        self.cache = cache
        self.steps = Steps(sizes)
        self.feel = nn.Linear(state, sizes.width) if sizes.feels else None
        self.blocks = nn.ModuleList([JointBlock(sizes.width, cache) for _ in range(cache.layers)])

    def remember(self, features: Features, summary: Tensor) -> Memory:
        """Return summary (B, D), mask (B, N), keys and values (B, heads, N, size) by layer, what is felt (B, width)."""
        if features.cache is None or len(features.cache) != self.cache.layers:
            found = 0 if features.cache is None else len(features.cache)
            raise ConfigError(f"a joint expert of {self.cache.layers} layers was given keys and values of {found}.")
        seen = (summary, whole_mask(features), *(part for layer in features.cache for part in layer))
        return seen if self.feel is None or features.state is None else (*seen, self.feel(features.state))

    def forward(self, memory: Memory, chunk: Tensor, time: Tensor) -> Tensor:
        """Return (B, H, A) at chunk (B, H, A) and time (B,) in 0 .. 1."""
        _, mask, *seen = memory
        hidden = self.steps.enter(chunk, time)
        if self.feel is not None:
            hidden = torch.cat([seen.pop()[:, None], hidden], dim=1)
        count = hidden.shape[1]
        places = mask.sum(dim=1, keepdim=True) + torch.arange(count, device=mask.device)
        allowed = torch.cat([mask, mask.new_ones(mask.shape[0], count)], dim=1)[:, None, None]
        for number, block in enumerate(self.blocks):
            hidden = block(hidden, seen[2 * number], seen[2 * number + 1], allowed, places)
        return self.steps.leave(hidden if self.feel is None else hidden[:, 1:])


class UnetField(nn.Module):
    """Diffusion Policy's U-Net along the steps of the chunk; of the features it sees the summary.

    Args:
        sizes: of everything; each of the ``layers`` levels but the last halves the steps and doubles the ``width``.

    Raises:
        ConfigError: the steps cannot be halved as often, or the width does not fit the norms.
    """

    def __init__(self, sizes: FieldSizes) -> None:
        super().__init__()
        unet = sizes.unet or UnetConfig(tuple(sizes.width * 2**level for level in range(sizes.layers)))
        self.net = ChunkUnet(
            sizes.actions,
            sizes.features,
            unet.channels,
            kernel=unet.kernel,
            groups=unet.groups,
            time=unet.time,
            scale=unet.scale,
        )
        self.net.check(sizes.horizon)

    def remember(self, features: Features, summary: Tensor) -> Memory:
        """Return the summary (B, D)."""
        del features
        return (summary,)

    def forward(self, memory: Memory, chunk: Tensor, time: Tensor) -> Tensor:
        """Return (B, H, A) at chunk (B, H, A) and time (B,) in 0 .. 1."""
        return self.net(chunk, time * UNET_STEPS, memory[0])


AnyField = MlpField | CrossField | JointField | InterleavedField | UnetField


def build_field(expert: Expert | None, sizes: FieldSizes, layout: FeatureLayout) -> AnyField:
    """Return the field of that name; None means the MLP.

    Raises:
        ConfigError: the features do not hold what it needs.
    """
    if expert is None:
        return MlpField(sizes)
    if expert == "cross":
        return CrossField(sizes)
    if expert == "unet":
        return UnetField(sizes)
    if layout.cache is None:
        raise ConfigError(
            f"--policy.head.expert {expert} reads the keys and values of a language model, and this policy has none "
            "that the images pass through. Set --policy.fusion.kind lm or prefix, or take --policy.head.expert cross."
        )
    if expert == "interleaved":
        inner = sizes.interleaved or InterleavedConfig()
        state = layout.state if inner.like == "pi0" else 0
        return InterleavedField(sizes.actions, sizes.width, inner, layout.cache, state)
    return JointField(sizes, layout.cache, layout.state)


def repeat(memory: Memory, count: int) -> Memory:
    """Return every row ``count`` times in a row."""
    return tuple(part.repeat_interleave(count, dim=0) for part in memory)


def time_features(time: Tensor) -> Tensor:
    """Return sines and cosines (B, 16) of time (B,) in 0 .. 1 at octaves from half a turn up."""
    octaves = torch.pi * 2.0 ** torch.arange(TIME_FEATURES // 2, device=time.device)
    angles = time[:, None] * octaves
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


# -------------------------------------------------------------------------------------- the parts


class Steps(nn.Module):
    """A chunk as tokens, one a step, and back.

    Args:
        sizes: of everything.
    """

    def __init__(self, sizes: FieldSizes) -> None:
        super().__init__()
        width = sizes.width
        self.embed = nn.Linear(sizes.actions, width)
        self.place = nn.Parameter(0.02 * torch.randn(sizes.horizon, width))
        self.time = nn.Sequential(nn.Linear(TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width))
        self.norm = nn.LayerNorm(width)
        self.read = nn.Linear(width, sizes.actions)

    def enter(self, chunk: Tensor, time: Tensor) -> Tensor:
        """Return tokens (B, H, width) of chunk (B, H, A) at time (B,)."""
        return self.embed(chunk) + self.place + self.time(time_features(time))[:, None]

    def leave(self, hidden: Tensor) -> Tensor:
        """Return (B, H, A) of tokens (B, H, width)."""
        return self.read(self.norm(hidden))


class CrossBlock(nn.Module):
    """Steps look at each other, at the tokens, and think."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD_SIZE
        self.norm, self.norm_cross = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.query, self.out_cross = nn.Linear(width, width), nn.Linear(width, width)
        self.mlp = feed_forward(width, 4)

    def forward(self, hidden: Tensor, seen: Tensor, mask: Tensor) -> Tensor:
        """Return (B, H, width); ``seen`` (B, N, 2 width) are keys and values, ``mask`` (B, N) says which count."""
        query, key, value = (self._split(part) for part in self.qkv(self.norm(hidden)).chunk(3, dim=-1))
        hidden = hidden + self.out(_join(functional.scaled_dot_product_attention(query, key, value)))
        key, value = (self._split(part) for part in seen.chunk(2, dim=-1))
        query = self._split(self.query(self.norm_cross(hidden)))
        found = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None])
        hidden = hidden + self.out_cross(_join(found))
        return hidden + self.mlp(hidden)

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.heads, HEAD_SIZE)).transpose(1, 2)


class JointBlock(nn.Module):
    """Steps look at a language model's keys and values and at each other, in one attention, and think."""

    def __init__(self, width: int, cache: CacheLayout) -> None:
        super().__init__()
        self.cache = cache
        inner = cache.heads * cache.size
        self.norm = nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * inner), nn.Linear(inner, width)
        self.mlp = feed_forward(width, 4)

    def forward(self, hidden: Tensor, key: Tensor, value: Tensor, allowed: Tensor, places: Tensor) -> Tensor:
        """Return (B, H, width); ``places`` (B, H) are the positions behind the language model's tokens."""
        split = self.qkv(self.norm(hidden)).unflatten(-1, (3, self.cache.heads, self.cache.size))
        query, own_key, own_value = split.permute(2, 0, 3, 1, 4)
        if self.cache.rope is not None:
            query, own_key = (rotate(part, places, self.cache.rope) for part in (query, own_key))
        keys, values = torch.cat([key, own_key], dim=2), torch.cat([value, own_value], dim=2)
        hidden = hidden + self.out(_join(functional.scaled_dot_product_attention(query, keys, values, allowed)))
        return hidden + self.mlp(hidden)


def feed_forward(width: int, factor: int) -> nn.Sequential:
    """Return a pre-norm feed-forward layer that is ``factor`` times as wide inside."""
    inner = factor * width
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))


def whole_mask(features: Features) -> Tensor:
    """Return which tokens count, (B, N) bool, also where nothing was said of it."""
    rows, count, _ = features.tokens.shape
    return features.tokens.new_ones(rows, count, dtype=torch.bool) if features.mask is None else features.mask


def _join(heads: Tensor) -> Tensor:
    return heads.transpose(1, 2).flatten(2)
