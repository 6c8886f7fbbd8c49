"""The network of a policy whose images, words and state are one prefix of a language model, as in SmolVLA."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sinew.core.errors import ConfigError
from sinew.core.types import Features
from sinew.models.encoder_config import CAUSAL, ENCODERS
from sinew.models.encoders import VisionEncoder
from sinew.models.heads.config import CacheLayout, FeatureLayout
from sinew.models.lm_fusion import positions, transformers_cache
from sinew.models.network import Scene
from sinew.models.text_encoders import TextEncoder

if TYPE_CHECKING:
    from sinew.core.types import RobotSpec
    from sinew.models.config import PolicyConfig
    from sinew.models.encoder_config import PrefixFusionConfig


class PrefixNetwork(nn.Module):
    """Images, words and state in one prefix that a language model reads in all directions.

    As in SmolVLA (Shukor 2025, arXiv:2506.01844): each image is padded to a square above and to the left, neighbouring
    patches are joined to one token, tokens of images and words are scaled by the root of their width, and they see each
    other but not the state, which sees all. Unlike there, several ticks may be seen: all images of all cameras, then
    the words, then the states, oldest first. What joins patches stays as it is where the language model does.

    As in pi0 (Black 2024, arXiv:2410.24164) images are padded on all sides, tokens are not scaled here, and the newest
    state is left to the head.

    Args:
        config: of the policy. fusion: of this network.
        spec: cameras and state.
        vocabulary: V of the tokenizer.
        blueprints: of pretrained parts by name, where they are not to be fetched.

    Attributes:
        width: D of the features. layout: of the features.

    Raises:
        ConfigError: parts that do not fit, or points are asked for.
    """

    def __init__(
        self,
        config: PolicyConfig,
        fusion: PrefixFusionConfig,
        spec: RobotSpec,
        vocabulary: int,
        blueprints: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self._check(config, fusion, spec)
        vision, language = config.vision, config.language
        if not isinstance(vision, tuple(ENCODERS.values())) or not isinstance(language, tuple(CAUSAL.values())):
            raise ConfigError(
                f"the prefix fusion is read by a causal language model and looks through an encoder, not {vision.kind} "
                f"and {language.kind}. Set --policy.language.kind {' | '.join(CAUSAL)} and --policy.vision.kind "
                f"{' | '.join(ENCODERS)}."
            )
        self.cameras, self.shuffle, self.padding = tuple(spec.cameras), fusion.shuffle, fusion.padding or 0.0
        self.language = TextEncoder(language, vocabulary, blueprints.get("language"))
        self.vision = VisionEncoder(vision, blueprints.get("vision"))
        self.width = self.language.width
        if config.width != self.width or any(cells % fusion.shuffle for cells in self.vision.grid):
            raise ConfigError(
                f"the prefix fusion hands on the language model's tokens of width {self.width}, and joins patches by "
                f"{fusion.shuffle} x {fusion.shuffle}, of which this encoder has {self.vision.grid}; --policy.width is "
                f"{config.width}. Set it to {self.width}, and --policy.fusion.shuffle to what divides the patches."
            )
        self.late = fusion.like == "pi0"  # the state comes in later, by the head
        self.project = nn.Linear(self.vision.channels * fusion.shuffle**2, self.width, bias=self.late)
        if language.frozen == "all":
            self.project.requires_grad_(requires_grad=False)
        self.felt = fusion.state or spec.state_size
        feels = config.state and spec.state_size > 0
        self.state = nn.Linear(self.felt, self.width) if feels and not self.late else None
        settings = self.language.settings
        size = getattr(settings, "head_dim", None) or self.width // settings.num_attention_heads
        rope = (settings.rope_parameters or {}).get("rope_theta", 10000.0)
        cache = CacheLayout(settings.num_hidden_layers, settings.num_key_value_heads, size, rope)
        self.layout = FeatureLayout(many=True, cache=cache, state=self.felt if feels and self.late else 0)

    def forward(self, images: Mapping[str, Tensor], ids: Tensor, state: Tensor) -> Scene:
        """Return last hidden states (B, N, D), keys and values; there are no points.

        Args:
            images: by camera, (B, T, 3, h, w) uint8.
            ids: (B, N) words.
            state: (B, T, S) at unit scale.
        """
        seen = [self.tokens(images[name]) for name in self.cameras]
        said = self.language.embed(ids)
        parts = [*seen, said.tokens] if self.late else [self.width**0.5 * part for part in (*seen, said.tokens)]
        ends, felt = said.mask, functional.pad(state, (0, self.felt - state.shape[-1]))
        if self.state is not None:
            parts.append(self.state(felt))
            ends = torch.cat([ends, ends.new_ones(state.shape[:2])], dim=1)
        before = sum(part.shape[1] for part in seen)
        mask = torch.cat([ends.new_ones(len(ends), before), ends], dim=1)
        past = transformers_cache()
        output = self.language.model(
            inputs_embeds=torch.cat(parts, dim=1),
            attention_mask=prefix_mask(mask, before + said.tokens.shape[1]),
            position_ids=positions(mask),
            past_key_values=past,
            use_cache=True,
        )
        cache = tuple((layer.keys, layer.values) for layer in past.layers)
        features = Features(
            output.last_hidden_state, mask, cache=cache, state=felt[:, -1] if self.layout.state else None
        )
        return Scene(features, {}, state.new_zeros(len(state), len(images), 0, 1, 1))

    def tokens(self, images: Tensor) -> Tensor:
        """Return tokens (B, T M, D) of a camera's images (B, T, 3, h, w) uint8."""
        size = self.vision.preprocess.pixels.size
        patches = self.vision(squared(images.flatten(0, 1).float(), *size, centred=self.late, fill=self.padding))
        joined = joined_patches(patches.unflatten(1, self.vision.grid), self.shuffle)
        return self.project(joined).unflatten(0, images.shape[:2]).flatten(1, 2)

    @staticmethod
    def _check(config: PolicyConfig, fusion: PrefixFusionConfig, spec: RobotSpec) -> None:
        if config.grounding.points or config.projector is not None:
            raise ConfigError(
                "the prefix fusion finds no points and projects by itself. Leave --policy.grounding.points and "
                "--policy.projector out."
            )
        if config.state and fusion.state is not None and fusion.state < spec.state_size:
            raise ConfigError(
                f"--policy.fusion.state {fusion.state}: {spec.embodiment} has {spec.state_size} state values. "
                f"Set at least {spec.state_size}; weights that were trained with {fusion.state} do not fit this robot."
            )


def squared(images: Tensor, height: int, width: int, *, centred: bool = False, fill: float = 0.0) -> Tensor:
    """Return images (N, 3, h, w) that keep their proportions, resized and padded.

    Args:
        images: (N, 3, h, w).
        height: wanted.
        width: wanted.
        centred: pads on all sides, not above and to the left.
        fill: value of what they are padded with.
    """
    rows, columns = images.shape[-2:]
    if (rows, columns) == (height, width):
        return images
    ratio = max(columns / width, rows / height)
    size = (int(rows / ratio), int(columns / ratio))
    resized = functional.interpolate(images, size, mode="bilinear", align_corners=False)
    above, left = height - size[0], width - size[1]
    below, right = ((above + 1) // 2, (left + 1) // 2) if centred else (0, 0)
    return functional.pad(resized, (left - right, right, above - below, below), value=fill)


def joined_patches(patches: Tensor, side: int) -> Tensor:
    """Return (N, h w / side^2, C side^2) of patches (N, h, w, C), each token a square of neighbours, row by row."""
    rows, columns = patches.shape[1] // side, patches.shape[2] // side
    squares = patches.unflatten(2, (columns, side)).unflatten(1, (rows, side))
    return squares.transpose(2, 3).flatten(3).flatten(1, 2)


def prefix_mask(mask: Tensor, before: int) -> Tensor:
    """Return who may look at whom, (B, 1, N, N) bool, where those in ``mask`` (B, N) count.

    The first ``before`` tokens see each other, those behind them see them and each other.
    """
    behind = torch.arange(mask.shape[1], device=mask.device) >= before
    return (mask[:, None, :] & (behind[:, None] | ~behind))[:, None]
