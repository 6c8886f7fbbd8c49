"""Settings of what leads from an encoder's tokens to those of a fusion; light to import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class MlpProjectorConfig:
    """Each token by itself through two layers (LLaVA-1.5, Liu 2023, arXiv:2310.03744).

    Attributes:
        hidden: width between the layers, of the output's.
        path: id on the hub or directory of a vision-language model in Llava's layout whose projector to begin with.
        widened: width of one more layer before them, of the input's, as Prismatic has it; None for none.
    """

    kind: Literal["mlp"] = "mlp"
    hidden: float = 1.0
    path: str = ""
    widened: float | None = None


@dataclass(frozen=True)
class AttentionProjectorConfig:
    """Tokens of every image see each other on the way.

    Attributes:
        layers: transformer blocks at the output's width.
        heads: attention heads.
    """

    kind: Literal["attention"] = "attention"
    layers: int = 1
    heads: int = 4


@dataclass(frozen=True)
class PerceiverProjectorConfig:
    """A fixed number of latents read an image (Perceiver resampler of Flamingo, Alayrac 2022, arXiv:2204.14198).

    Attributes:
        latents: tokens that leave, however many enter.
        layers: rounds of reading.
        heads: attention heads.
    """

    kind: Literal["perceiver"] = "perceiver"
    latents: int = 16
    layers: int = 2
    heads: int = 4


AnyProjectorConfig = MlpProjectorConfig | AttentionProjectorConfig | PerceiverProjectorConfig
PROJECTORS: dict[str, type[AnyProjectorConfig]] = {
    "mlp": MlpProjectorConfig,
    "attention": AttentionProjectorConfig,
    "perceiver": PerceiverProjectorConfig,
}
