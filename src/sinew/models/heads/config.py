"""Settings of action heads; light to import, built on demand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from torch import nn

    from sinew.core.types import RobotSpec


@dataclass(frozen=True)
class CacheLayout:
    """The keys and values that a language model leaves behind.

    Attributes:
        layers: how many pairs (B, heads, N, size). heads: of keys and values. size: of one head.
        rope: base of the rotary positions that the keys carry; None where they carry none.
    """

    layers: int
    heads: int
    size: int
    rope: float | None = None


@dataclass(frozen=True)
class FeatureLayout:
    """What features hold beside their width, known before the first one is seen.

    Attributes:
        many: there may be more than one token, or a mask.
        cache: what ``Features.cache`` holds.
        decodes: ``Features.decode`` goes on behind the tokens, at their width.
    """

    many: bool = False
    cache: CacheLayout | None = None
    decodes: bool = False


ONE_TOKEN = FeatureLayout()


@dataclass(frozen=True)
class MlpHeadConfig:
    """A chunk in one pass: L1 on continuous values, cross-entropy on two-valued ones.

    Attributes:
        hidden: widths of the hidden layers.
        binary_weight: weight of the two-valued actions' loss.
    """

    kind: Literal["mlp"] = "mlp"
    stochastic: ClassVar[bool] = False
    hidden: tuple[int, ...] = (256, 256)
    binary_weight: float = 0.3

    def build(self, width: int, horizon: int, spec: RobotSpec, layout: FeatureLayout = ONE_TOKEN) -> nn.Module:
        """Return the head for features of size ``width``."""
        from sinew.models.heads.mlp import MlpHead

        return MlpHead(self, width, horizon, spec, layout)


@dataclass(frozen=True)
class GaussianHeadConfig:
    """A chunk in one pass with its own uncertainty: what reinforcement learning can draw from and score.

    Attributes:
        hidden: widths of the hidden layers.
        binary_weight: weight of the two-valued actions' loss.
        least_std: smallest standard deviation of an action, of the spread of actions in the data.
        most_std: largest one that imitation leaves behind.
    """

    kind: Literal["gaussian"] = "gaussian"
    stochastic: ClassVar[bool] = True
    hidden: tuple[int, ...] = (256, 256)
    binary_weight: float = 0.3
    least_std: float = 0.05
    most_std: float = 0.5

    def build(self, width: int, horizon: int, spec: RobotSpec, layout: FeatureLayout = ONE_TOKEN) -> nn.Module:
        """Return the head for features of size ``width``."""
        from sinew.models.heads.gaussian import GaussianHead

        return GaussianHead(self, width, horizon, spec, layout)


@dataclass(frozen=True)
class FlowHeadConfig:
    """Flow matching (Lipman 2023) over the chunk; two-valued actions are classified beside it.

    Attributes:
        width: size of the velocity network. layers: its residual blocks.
        steps: Euler steps when sampling.
        binary_weight: weight of the two-valued actions' loss.
        noise: of the draws that reinforcement learning scores; sampling otherwise takes no notice of it.
    """

    kind: Literal["flow"] = "flow"
    stochastic: ClassVar[bool] = True
    width: int = 256
    layers: int = 3
    steps: int = 8
    binary_weight: float = 0.3
    noise: float = 0.5

    def build(self, width: int, horizon: int, spec: RobotSpec, layout: FeatureLayout = ONE_TOKEN) -> nn.Module:
        """Return the head for features of size ``width``."""
        from sinew.models.heads.flow import FlowHead

        return FlowHead(self, width, horizon, spec, layout)


@dataclass(frozen=True)
class ActHeadConfig:
    """Action chunking with transformers (Zhao 2023): an encoder over the scene, a decoder over the steps, a style.

    Attributes:
        heads: attention heads. hidden: width of the feed-forward layers.
        encoder_layers: over the tokens of the scene. decoder_layers: over the steps of the chunk.
        posterior_layers: that read the style from the actions, in training.
        variational: there is a style; else it is always zero.
        latent: numbers of the style. kl: price of what they say.
        dropout: share of values dropped in training.
        activation: of the feed-forward layers.
        pre_norm: normalise what enters a part instead of what leaves it.
        binary_weight: weight of the two-valued actions' loss.
    """

    kind: Literal["act"] = "act"
    stochastic: ClassVar[bool] = False
    heads: int = 8
    hidden: int = 512
    encoder_layers: int = 4
    decoder_layers: int = 1
    posterior_layers: int = 4
    variational: bool = True
    latent: int = 32
    kl: float = 10.0
    dropout: float = 0.1
    activation: Literal["relu", "gelu"] = "relu"
    pre_norm: bool = False
    binary_weight: float = 0.3

    def build(self, width: int, horizon: int, spec: RobotSpec, layout: FeatureLayout = ONE_TOKEN) -> nn.Module:
        """Return the head for features of size ``width``; however many tokens there are, it takes them all."""
        del layout
        from sinew.models.heads.act import ActHead

        return ActHead(self, width, horizon, spec)


AnyHeadConfig = MlpHeadConfig | GaussianHeadConfig | FlowHeadConfig | ActHeadConfig
HEADS: dict[str, type[AnyHeadConfig]] = {
    "mlp": MlpHeadConfig,
    "gaussian": GaussianHeadConfig,
    "flow": FlowHeadConfig,
    "act": ActHeadConfig,
}
