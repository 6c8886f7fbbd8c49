"""Settings of policies and their parts; light to import, built on demand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from sinew.models.encoder_config import (
    ENCODERS,
    FUSIONS,
    TEXT_ENCODERS,
    AnyEncoderConfig,
    AnyFusionConfig,
    AnyTextConfig,
    LoraConfig,
    PrismaticConfig,
)
from sinew.models.heads.config import (
    HEADS,
    ActHeadConfig,
    AnyHeadConfig,
    FlowHeadConfig,
    GaussianHeadConfig,
    MlpHeadConfig,
)
from sinew.models.projector_config import PROJECTORS, AnyProjectorConfig
from sinew.models.vlm_config import StemConfig

__all__ = [
    "BLUEPRINTS",
    "FUSIONS",
    "HEADS",
    "LANGUAGE",
    "PREVIOUS",
    "PROJECTORS",
    "VISION",
    "ActHeadConfig",
    "AnyHeadConfig",
    "AnyLanguageConfig",
    "AnyPreviousConfig",
    "AnyVisionConfig",
    "FilmVisionConfig",
    "FlowHeadConfig",
    "GaussianHeadConfig",
    "GroundingConfig",
    "LanguageConfig",
    "LstmConfig",
    "MlpHeadConfig",
    "PolicyConfig",
    "TokenVisionConfig",
]

BLUEPRINTS = "blueprints.json"
"""File of a policy's directory that says how its pretrained parts are built, where it has such."""


@dataclass(frozen=True)
class LanguageConfig:
    """A small language transformer trained from scratch.

    Attributes:
        width: D of its tokens.
        layers: transformer blocks.
        heads: attention heads.
        max_tokens: longest instruction; longer ones are cut.
    """

    kind: Annotated[Literal["words"], Field(exclude=True)] = "words"  # not written: it came later
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
class LstmConfig:
    """An LSTM over the actions executed before now (Hochreiter 1997).

    Attributes:
        ticks: P, how many actions it looks back on.
        width: of its hidden state. layers: of it.
        dropout: share of the rows that see no previous action in training. A policy that may copy its last action
            learns that in place of the task ("copycat", Wen 2020, arXiv:2010.14876), so it must also do without.
    """

    kind: Literal["lstm"] = "lstm"
    ticks: int = 8
    width: int = 128
    layers: int = 2
    dropout: float = 0.5


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


AnyVisionConfig = FilmVisionConfig | TokenVisionConfig | AnyEncoderConfig | PrismaticConfig | StemConfig
VISION: dict[str, type[AnyVisionConfig]] = {
    "film": FilmVisionConfig,
    "tokens": TokenVisionConfig,
    **ENCODERS,
    "prismatic": PrismaticConfig,
    "stem": StemConfig,
}
AnyLanguageConfig = LanguageConfig | AnyTextConfig
LANGUAGE: dict[str, type[AnyLanguageConfig]] = {"words": LanguageConfig, **TEXT_ENCODERS}
AnyPreviousConfig = LstmConfig
PREVIOUS: dict[str, type[AnyPreviousConfig]] = {"lstm": LstmConfig}


@dataclass(frozen=True)
class PolicyConfig:
    """A vision-language-action policy from parts.

    Attributes:
        projector: from the width of what is seen to that of the features; None is one linear layer where there is a
            fusion, and nothing where there is none.
        fusion: how what is seen, said and felt becomes features; None looks with pointers, which needs no more data
            than a few dozen recordings.
        lora: adapters beside the weights of pretrained encoders; None trains the weights themselves.
        history: T, ticks of images and state the policy sees.
        previous: how it remembers the actions that were executed before now; None looks at none.
        horizon: H, actions predicted at once.
        execute: actions run before predicting again, at most ``horizon``.
        width: D of the features handed to the head.
        state: whether proprioception is an input.
        actions: what is predicted inside: relative is measured from the state at which a chunk begins, see
            ``core/actions.py``. What the robot gets is converted back. None predicts what the robot takes.
        measured_from: state by action that such values are measured from; None matches equal names and units.
    """

    vision: AnyVisionConfig = field(default_factory=FilmVisionConfig)
    language: AnyLanguageConfig = field(default_factory=LanguageConfig)
    head: AnyHeadConfig = field(default_factory=MlpHeadConfig)
    grounding: GroundingConfig = field(default_factory=GroundingConfig)
    history: int = 1
    horizon: int = 4
    execute: int = 1
    width: int = 256
    state: bool = True
    projector: AnyProjectorConfig | None = None
    fusion: AnyFusionConfig | None = None
    lora: LoraConfig | None = None
    actions: Literal["absolute", "delta", "relative"] | None = None
    measured_from: dict[str, str] | None = None
    previous: AnyPreviousConfig | None = None

    @property
    def num_previous(self) -> int:
        """P, executed actions that the policy sees."""
        return 0 if self.previous is None else self.previous.ticks
