"""Settings of every recipe; light to import."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sinew.data.config import AugmentConfig


@dataclass(frozen=True)
class BcConfig:
    """Behaviour cloning on recorded windows.

    Attributes:
        batch: rows per update.
    """

    kind: Literal["bc"] = "bc"
    batch: int = 64
    augment: AugmentConfig = field(default_factory=AugmentConfig)


@dataclass(frozen=True)
class DaggerConfig:
    """Dataset aggregation (Ross 2011) inside one behaviour-cloning schedule.

    Attributes:
        inner: the supervised recipe that learns.
        rounds: shares of the run at which the policy acts and the expert labels.
        episodes: episodes per round.
        mix: share of each task by name; None means equal shares.
        take_over: chance per tick that the expert acts for a few ticks.
        label_horizon: steps of a chunk that the expert's labels of a foreign state are good for.
    """

    kind: Literal["dagger"] = "dagger"
    inner: BcConfig = field(default_factory=BcConfig)
    rounds: tuple[float, ...] = (0.2, 0.4, 0.6)
    episodes: int = 480
    mix: dict[str, float] | None = None
    take_over: float = 0.05
    label_horizon: int = 2


@dataclass(frozen=True)
class GrpoConfig:
    """Group-relative policy optimisation (Shao 2024): a trained policy gets better by what succeeds.

    Attributes:
        start: directory of the policy that is improved; ``--from`` fills it in.
        weights: digest of that policy's files; where they lie changes no result.
        train: "head" leaves the network as it is and learns on its features, "all" learns everything.
        scenes: initial states per update.
        group: episodes from each.
        mix: share of each task by name; None means equal shares.
        epochs: passes over the decisions of an update.
        minibatches: optimiser steps per pass.
        clip_low: how far the odds of an action may fall in an update.
        clip_high: how far they may rise.
        kl: weight of the divergence from the policy one started from; 0 keeps no copy of it.
        shuffle: pay episodes with each other's returns, as a control: then nothing must be learned.
    """

    kind: Literal["grpo"] = "grpo"
    start: str = ""
    weights: str = ""
    train: Literal["head", "all"] = "head"
    scenes: int = 32
    group: int = 8
    mix: dict[str, float] | None = None
    epochs: int = 4
    minibatches: int = 6
    clip_low: float = 0.2
    clip_high: float = 0.28
    kl: float = 0.0
    shuffle: bool = False


@dataclass(frozen=True)
class PretrainConfig:
    """One stage of teaching a vision-language model: which parts learn, from which conversations.

    Attributes:
        data: of the conversations of a run, "captions" (alignment) or "instructions".
        parts: which learn: vision, projector, lm; "reader" is a small decoder that reads the vision encoder's tokens
            while it writes and is thrown away after the stage.
        exchanges: "first" takes the first question of a record and its answer, "rest" the others, "all" all of them.
        apart: questions of a record answered by themselves, many to an image; 0 keeps a record one conversation.
        plain: leave out what is asked, as LLaVA's first stage does.
        sight: "images" as they are, "blank" ones (a model that learns from these is blind), or "words": what the
            first answer says stands where the image was.
        blank: share of the records whose images are grey, so that a model that sees nothing says what is likely.
        balance: "token" counts every id alike; "answer" counts every answer alike, however long.
        batch: records per update.
    """

    kind: Literal["pretrain"] = "pretrain"
    data: Literal["captions", "instructions"] = "instructions"
    parts: tuple[str, ...] = ("projector", "lm")
    exchanges: Literal["first", "rest", "all"] = "all"
    apart: int = 0
    plain: bool = False
    sight: Literal["images", "blank", "words"] = "images"
    blank: float = 0.0
    balance: Literal["token", "answer"] = "token"
    batch: int = 128


@dataclass(frozen=True)
class CotrainConfig:
    """Robot windows and conversations about images in one update (Brohan 2023, arXiv:2307.15818).

    Attributes:
        robot: how windows are learned; its batch is B.
        ratio: conversations per robot row, above 0: 0.25 is one to four, 1 as many as there are windows.
        weight: of the mean text loss beside the losses of actions.
        data, exchanges, apart, sight, blank, balance: which conversations and how, as ``PretrainConfig`` has them.
    """

    kind: Literal["cotrain"] = "cotrain"
    robot: BcConfig = field(default_factory=BcConfig)
    ratio: float = 0.25
    weight: float = 1.0
    data: Literal["captions", "instructions"] = "instructions"
    exchanges: Literal["first", "rest", "all"] = "all"
    apart: int = 0
    sight: Literal["images", "blank", "words"] = "images"
    blank: float = 0.0
    balance: Literal["token", "answer"] = "token"


AnyRecipeConfig = BcConfig | DaggerConfig | GrpoConfig
RECIPES: dict[str, type[AnyRecipeConfig]] = {"bc": BcConfig, "dagger": DaggerConfig, "grpo": GrpoConfig}
AnyStageRecipe = PretrainConfig | CotrainConfig | BcConfig
STAGE_RECIPES: dict[str, type[PretrainConfig | CotrainConfig]] = {"pretrain": PretrainConfig, "cotrain": CotrainConfig}
"""What a stage of a run may be beside behaviour cloning; a policy's recipe is none of them."""
