"""Settings of action heads; light to import, built on demand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from sinew.models.interleaved_config import InterleavedConfig
from sinew.models.unet_config import UnetConfig

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
        state: S of ``Features.state``, which is the state or what was made of it and the points; 0 where there is none.
    """

    many: bool = False
    cache: CacheLayout | None = None
    decodes: bool = False
    state: int = 0


ONE_TOKEN = FeatureLayout()


@dataclass(frozen=True)
class MlpHeadConfig:
    """A chunk in one pass: L1 on continuous values, cross-entropy on two-valued ones.

    Attributes:
        hidden: widths of the hidden layers.
        binary_weight: weight of the two-valued actions' loss.
        loss: on continuous values: l1, the default, or mse.
    """

    kind: Literal["mlp"] = "mlp"
    stochastic: ClassVar[bool] = False
    rereads: ClassVar[bool] = False
    hidden: tuple[int, ...] = (256, 256)
    binary_weight: float = 0.3
    loss: Literal["l1", "mse"] | None = None

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
        std: free deviations depend on step and action only, the default; with features also on what is seen.
        tanh: keep draws within reach of the data.
        mixture: K, how many whole chunks are offered with their odds; None for one, fitted by L1.
    """

    kind: Literal["gaussian"] = "gaussian"
    stochastic: ClassVar[bool] = True
    rereads: ClassVar[bool] = False
    hidden: tuple[int, ...] = (256, 256)
    binary_weight: float = 0.3
    least_std: float = 0.05
    most_std: float = 0.5
    std: Literal["free", "features"] | None = None
    tanh: bool | None = None
    mixture: int | None = None

    def build(self, width: int, horizon: int, spec: RobotSpec, layout: FeatureLayout = ONE_TOKEN) -> nn.Module:
        """Return the head for features of size ``width``."""
        from sinew.models.heads.gaussian import GaussianHead
        from sinew.models.heads.mixture import MixtureHead

        if self.mixture is not None:
            return MixtureHead(self, width, horizon, spec, layout)
        return GaussianHead(self, width, horizon, spec, layout)


@dataclass(frozen=True)
class FlowHeadConfig:
    """Flow matching (Lipman 2023) over the chunk; two-valued actions are classified beside it.

    Attributes:
        width: size of the velocity network. layers: its residual blocks.
        steps: Euler steps when sampling.
        binary_weight: weight of the two-valued actions' loss.
        noise: of the draws that reinforcement learning scores; sampling otherwise takes no notice of it.
        expert: None for an MLP over the chunk; cross for a transformer that looks at all tokens; joint for one that
            shares every attention layer of the language model; interleaved for SmolVLA's, in which layers that share it
            take turns with layers that look at it, and for pi0's own.
        insulate: no gradient of this head reaches what made the features.
        interleaved: sizes of that expert, beside ``width``; it has as many layers as the language model.
        feels: the joint expert has a step of its own for what is felt and where the points are, as pi0 has for the
            state; two-valued actions are classified from it, too.
        times: of the noise in training: uniform, the default, or beta for more of the noisier ones, as pi0 has it.
    """

    kind: Literal["flow"] = "flow"
    stochastic: ClassVar[bool] = True
    rereads: ClassVar[bool] = True
    width: int = 256
    layers: int = 3
    steps: int = 8
    binary_weight: float = 0.3
    noise: float = 0.5
    expert: Literal["cross", "joint", "interleaved"] | None = None
    insulate: bool | None = None
    interleaved: InterleavedConfig | None = None
    times: Literal["uniform", "beta"] | None = None
    feels: bool | None = None

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
    rereads: ClassVar[bool] = False
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


@dataclass(frozen=True)
class DiffusionHeadConfig:
    """Diffusion over the chunk (Chi 2023), walked in few DDIM steps; two-valued actions are classified beside it.

    Attributes:
        width: size of the network. layers: its blocks.
        length: steps of noise that it is trained with.
        steps: of them that are walked when sampling.
        prediction: what the network says: the noise (epsilon), the chunk (sample) or between them (velocity).
        eta: how much is drawn at each step when sampling: 0 for DDIM, 1 for DDPM.
        binary_weight: weight of the two-valued actions' loss.
        noise: least deviation of a step in the draws that reinforcement learning scores.
        expert: None for an MLP over the chunk; cross for a transformer that looks at all tokens; joint for one that
            shares every attention layer of the language model; unet for convolutions along the steps, ``layers``
            levels of them.
        unet: its sizes, where they do not follow from ``width`` and ``layers``.
        spacing: which steps are walked: evenly spaced ones that begin at the noisiest (trailing) or end at the
            cleanest (leading).
        bounded_noise: the noise that remains after a step is taken from the bounded estimate of the chunk.
        before: steps before now that are drawn as well and thrown away, as LeRobot's policies do.
    """

    kind: Literal["diffusion"] = "diffusion"
    stochastic: ClassVar[bool] = True
    rereads: ClassVar[bool] = True
    width: int = 256
    layers: int = 3
    length: int = 100
    steps: int = 10
    prediction: Literal["epsilon", "sample", "velocity"] = "velocity"
    eta: float = 0.0
    binary_weight: float = 0.3
    noise: float = 0.1
    expert: Literal["cross", "joint", "unet"] | None = None
    unet: UnetConfig | None = None
    spacing: Literal["trailing", "leading"] = "trailing"
    bounded_noise: bool = True
    before: int = 0

    def build(self, width: int, horizon: int, spec: RobotSpec, layout: FeatureLayout = ONE_TOKEN) -> nn.Module:
        """Return the head for features of size ``width``."""
        from sinew.models.heads.diffusion import DiffusionHead

        return DiffusionHead(self, width, horizon, spec, layout)


@dataclass(frozen=True)
class AutoregressiveHeadConfig:
    """Action tokens, decoded one after the other; two-valued actions are classified beside them.

    Attributes:
        tokens: values for a token a value; fast for few tokens a chunk, learned from the training chunks.
        bins: of a value, with tokens "values". smooth: spread of their labels, in bins; 0 for hard ones.
        top: the last of the bins is the greatest value alone, decoded as the bin below it, as OpenVLA has it.
        vocabulary: at most so many tokens, with tokens "fast". scale: of the coefficients; larger is finer.
        decoder: own for a small transformer; lm for the language model that the images pass through.
        width: of the own decoder. layers: its blocks. heads: attention heads.
        binary_weight: weight of the two-valued actions' loss.
    """

    kind: Literal["autoregressive"] = "autoregressive"
    stochastic: ClassVar[bool] = True
    rereads: ClassVar[bool] = True
    tokens: Literal["values", "fast"] = "values"
    bins: int = 256
    smooth: float = 1.0
    top: bool | None = None
    vocabulary: int = 1024
    scale: float = 10.0
    decoder: Literal["own", "lm"] = "own"
    width: int = 128
    layers: int = 2
    heads: int = 4
    binary_weight: float = 0.3

    def build(self, width: int, horizon: int, spec: RobotSpec, layout: FeatureLayout = ONE_TOKEN) -> nn.Module:
        """Return the head for features of size ``width``."""
        from sinew.models.heads.autoregressive import AutoregressiveHead

        return AutoregressiveHead(self, width, horizon, spec, layout)


@dataclass(frozen=True)
class BinsHeadConfig:
    """Every value of the chunk is one of many classes, all said at once; two-valued actions have two.

    Attributes:
        bins: classes of a value, between the least and the greatest of the data.
        smooth: spread of the labels, in bins; 0 for hard ones.
        hidden: width of the layer that all values share. width: of the place of each value.
        binary_weight: weight of the two-valued actions' loss.
    """

    kind: Literal["bins"] = "bins"
    stochastic: ClassVar[bool] = True
    rereads: ClassVar[bool] = False
    bins: int = 256
    smooth: float = 1.0
    hidden: int = 256
    width: int = 64
    binary_weight: float = 0.3

    def build(self, width: int, horizon: int, spec: RobotSpec, layout: FeatureLayout = ONE_TOKEN) -> nn.Module:
        """Return the head for features of size ``width``."""
        from sinew.models.heads.bins import BinsHead

        return BinsHead(self, width, horizon, spec, layout)


AnyHeadConfig = (
    MlpHeadConfig
    | GaussianHeadConfig
    | FlowHeadConfig
    | DiffusionHeadConfig
    | AutoregressiveHeadConfig
    | BinsHeadConfig
    | ActHeadConfig
)
HEADS: dict[str, type[AnyHeadConfig]] = {
    "mlp": MlpHeadConfig,
    "gaussian": GaussianHeadConfig,
    "flow": FlowHeadConfig,
    "diffusion": DiffusionHeadConfig,
    "autoregressive": AutoregressiveHeadConfig,
    "bins": BinsHeadConfig,
    "act": ActHeadConfig,
}
