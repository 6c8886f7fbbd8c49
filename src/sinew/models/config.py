"""Settings of policies and their parts; light to import, built on demand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from torch import nn

    from sinew.core.types import RobotSpec


@dataclass(frozen=True)
class LanguageConfig:
    """A small language transformer trained from scratch.

    Attributes:
        width: D of its tokens.
        layers: transformer blocks.
        heads: attention heads.
        max_tokens: longest instruction; longer ones are cut.
    """

    width: int = 64
    layers: int = 2
    heads: int = 4
    max_tokens: int = 24


@dataclass(frozen=True)
class FilmVisionConfig:
    """Convolutions modulated by the instruction (FiLM, Perez 2018) with a spatial soft-argmax.

    Attributes:
        channels: output channels of the convolutions; the first two halve the image.
    """

    kind: Literal["film"] = "film"
    channels: tuple[int, ...] = (16, 32, 32, 32)


@dataclass(frozen=True)
class TokenVisionConfig:
    """Patch tokens that a transformer fuses with words and state.

    Attributes:
        patch: side of a patch [px].
        width: D of the tokens. layers: fusion blocks. heads: attention heads.
    """

    kind: Literal["tokens"] = "tokens"
    patch: int = 8
    width: int = 96
    layers: int = 3
    heads: int = 4


@dataclass(frozen=True)
class GroundingConfig:
    """Points that the instruction names, regressed from the image as an auxiliary task.

    Attributes:
        points: (name in ``Batch.targets``, number of coordinates) of each point.
        weight: weight of the loss; 0 leaves the pointers in place but unsupervised.
        image: weight, within it, of where in the image a point is; needs a calibrated camera.
        feed: the predicted points are inputs of the action head.
        coordinates: names of the points that are taught where they are in space; None means all. The others are
            inputs of the head like any other feature, and mean nothing to people. Where targets hold "image.NAME",
            a point is taught where it lies in the images, too.
        states: names of the points that are states of the robot, which lie nowhere in an image. When fed, the head
            also gets the gap from the robot's state to them.
    """

    points: tuple[tuple[str, int], ...] = ()
    weight: float = 1.0
    image: float = 0.1
    feed: bool = True
    coordinates: tuple[str, ...] | None = None
    states: tuple[str, ...] | None = None


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

    def build(self, width: int, horizon: int, spec: RobotSpec) -> nn.Module:
        """Return the head for features of size ``width``."""
        from sinew.models.heads.mlp import MlpHead

        return MlpHead(self, width, horizon, spec)


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

    def build(self, width: int, horizon: int, spec: RobotSpec) -> nn.Module:
        """Return the head for features of size ``width``."""
        from sinew.models.heads.gaussian import GaussianHead

        return GaussianHead(self, width, horizon, spec)


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

    def build(self, width: int, horizon: int, spec: RobotSpec) -> nn.Module:
        """Return the head for features of size ``width``."""
        from sinew.models.heads.flow import FlowHead

        return FlowHead(self, width, horizon, spec)


AnyHeadConfig = MlpHeadConfig | GaussianHeadConfig | FlowHeadConfig
HEADS: dict[str, type[AnyHeadConfig]] = {"mlp": MlpHeadConfig, "gaussian": GaussianHeadConfig, "flow": FlowHeadConfig}
VISION: dict[str, type[FilmVisionConfig | TokenVisionConfig]] = {"film": FilmVisionConfig, "tokens": TokenVisionConfig}


@dataclass(frozen=True)
class PolicyConfig:
    """A vision-language-action policy from parts.

    Attributes:
        history: T, ticks of images and state the policy sees.
        horizon: H, actions predicted at once.
        execute: actions run before predicting again, at most ``horizon``.
        width: D of the features handed to the head.
        state: whether proprioception is an input.
    """

    vision: FilmVisionConfig | TokenVisionConfig = field(default_factory=FilmVisionConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    head: AnyHeadConfig = field(default_factory=MlpHeadConfig)
    grounding: GroundingConfig = field(default_factory=GroundingConfig)
    history: int = 1
    horizon: int = 4
    execute: int = 1
    width: int = 256
    state: bool = True
