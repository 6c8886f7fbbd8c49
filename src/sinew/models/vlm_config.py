"""Settings of vision-language models; light to import."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sinew.models.encoder_config import ENCODERS, AnyEncoderConfig
from sinew.models.projector_config import AnyProjectorConfig, MlpProjectorConfig


@dataclass(frozen=True)
class StemConfig:
    """A small vision transformer over convolutions, which learns shapes from few images where flat patches need many.

    Attributes:
        image: side of the square image it reads [px].
        patch: side of a patch [px], a multiple of 4.
        width: D of its tokens. layers: its blocks. heads: attention heads.
    """

    kind: Literal["stem"] = "stem"
    image: int = 72
    patch: int = 12
    width: int = 96
    layers: int = 2
    heads: int = 4


AnyVlmVisionConfig = StemConfig | AnyEncoderConfig
VLM_VISION: dict[str, type[AnyVlmVisionConfig]] = {"stem": StemConfig, **ENCODERS}


@dataclass(frozen=True)
class CausalConfig:
    """The causal language model that answers.

    Attributes:
        path: hub id or directory of pretrained weights with their tokenizer; empty for a random Qwen2 of the sizes
            below, whose words are learned from the data.
        width: D. layers: blocks. heads: attention heads. hidden: width of the feed-forward layers.
    """

    path: str = ""
    width: int = 96
    layers: int = 4
    heads: int = 4
    hidden: int = 256


@dataclass(frozen=True)
class VlmConfig:
    """A vision-language model from parts: vision encoder, projector, causal language model.

    Attributes:
        path: hub id or directory of a whole model (LLaVA's layout, or a run of ours) to begin with; the parts below
            are then its own.
        max_tokens: longest conversation, image tokens included.
    """

    path: str = ""
    vision: AnyVlmVisionConfig = field(default_factory=StemConfig)
    projector: AnyProjectorConfig = field(default_factory=MlpProjectorConfig)
    language: CausalConfig = field(default_factory=CausalConfig)
    max_tokens: int = 512
