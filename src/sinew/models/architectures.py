"""Policies that have a name, as settings; sizes are small, and a path at an encoder makes them those of the papers."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable

from sinew.core.errors import ConfigError
from sinew.models.config import LanguageConfig, LstmConfig, PolicyConfig, TokenVisionConfig
from sinew.models.encoder_config import (
    BertConfig,
    ConcatFusionConfig,
    FilmFusionConfig,
    LmFusionConfig,
    PlainVitConfig,
    Qwen2Config,
    ResnetConfig,
    ResnetSizes,
    SiglipConfig,
    TextSizes,
    TransformerFusionConfig,
    VitSizes,
)
from sinew.models.heads.config import (
    ActHeadConfig,
    AutoregressiveHeadConfig,
    BinsHeadConfig,
    DiffusionHeadConfig,
    FlowHeadConfig,
    MlpHeadConfig,
)
from sinew.models.projector_config import MlpProjectorConfig

RESNET = ResnetSizes(image=64, stem=32, widths=(32, 64), depths=(1, 1))
"""Of a robot's small image 8 x 8 places are left."""


def end_to_end_vla() -> PolicyConfig:
    """ResNet and BERT, each pooled to a vector, joined by an MLP, and an LSTM from there over what was executed.

    ``--policy.vision.path microsoft/resnet-50 --policy.language.path google-bert/bert-base-uncased`` for the large one.
    """
    return PolicyConfig(
        vision=ResnetConfig(random=RESNET),
        language=BertConfig(),
        projector=MlpProjectorConfig(),
        fusion=ConcatFusionConfig(),
        head=MlpHeadConfig(hidden=(512, 256)),
        width=256,
        previous=LstmConfig(width=256),
    )


def transformer_vla() -> PolicyConfig:
    """Patches and words as tokens of one transformer."""
    return PolicyConfig(
        vision=TokenVisionConfig(patch=8, width=128, layers=0, heads=4),
        language=LanguageConfig(width=128, layers=0),
        fusion=TransformerFusionConfig(layers=4, heads=8),
        head=MlpHeadConfig(hidden=(256,)),
        width=128,
    )


def octo() -> PolicyConfig:
    """Octo-like (Ghosh 2024, arXiv:2405.12213): patches, words and two ticks in one transformer, read by one token."""
    return PolicyConfig(
        vision=TokenVisionConfig(patch=8, width=128, layers=0, heads=4),
        language=LanguageConfig(width=128, layers=2),
        fusion=TransformerFusionConfig(layers=4, heads=8, readouts=1),
        head=DiffusionHeadConfig(),
        width=128,
        history=2,
    )


def rt1() -> PolicyConfig:
    """RT-1-like (Brohan 2022, arXiv:2212.06817): words modulate what six ticks show, 8 tokens of each, actions in bins.

    A ResNet stands where RT-1 has an EfficientNet.
    """
    return PolicyConfig(
        vision=ResnetConfig(random=RESNET),
        fusion=FilmFusionConfig(blocks=2, tokens=8, layers=4, heads=8),
        head=BinsHeadConfig(),
        width=128,
        history=6,
        horizon=1,
    )


def rt2() -> PolicyConfig:
    """RT-2- and OpenVLA-like (arXiv:2307.15818, arXiv:2406.09246): the language model says actions, bin by bin."""
    return dataclasses.replace(_through_lm(), head=AutoregressiveHeadConfig(decoder="lm"))


def palm_e() -> PolicyConfig:
    """PaLM-E-like (Driess 2023, arXiv:2303.03378): what a ViT sees and the state are tokens of a language model.

    Two ticks of images, then the state stand before the words. The language model says actions and, with co-training,
    answers in words from the same tokens. PaLM-E itself says only words, which other policies act on.
    """
    return PolicyConfig(
        vision=PlainVitConfig(random=VitSizes(image=64, patch=16, width=96)),
        language=Qwen2Config(random=TextSizes(width=128, layers=3)),
        projector=MlpProjectorConfig(),
        fusion=LmFusionConfig(),
        head=AutoregressiveHeadConfig(decoder="lm"),
        width=128,
        history=2,
    )


def pi0() -> PolicyConfig:
    """pi0-like (Black 2024, arXiv:2410.24164): a flow expert shares the language model's keys and values."""
    return dataclasses.replace(_through_lm(), head=FlowHeadConfig(expert="joint"), horizon=8, execute=4)


def _through_lm() -> PolicyConfig:
    return PolicyConfig(
        vision=SiglipConfig(random=VitSizes(image=64, patch=8, width=96)),
        language=Qwen2Config(random=TextSizes(width=128, layers=3)),
        projector=MlpProjectorConfig(),
        fusion=LmFusionConfig(),
        width=128,
    )


def diffusion_policy() -> PolicyConfig:
    """Diffusion-Policy-like (Chi 2023, arXiv:2303.04137): where the channels of a ResNet with group norms look."""
    return PolicyConfig(
        vision=ResnetConfig(random=RESNET, norm="group"),
        head=DiffusionHeadConfig(),
        history=2,
        horizon=16,
        execute=8,
    )


def act() -> PolicyConfig:
    """ACT (Zhao 2023, arXiv:2304.13705): a ResNet's tokens, read by a transformer with a style; chunks of 20."""
    return PolicyConfig(
        vision=ResnetConfig(random=RESNET),
        fusion=TransformerFusionConfig(layers=0, heads=8),
        head=ActHeadConfig(),
        width=256,
        horizon=20,
        execute=10,
    )


ARCHITECTURES: dict[str, Callable[[], PolicyConfig]] = {
    "end-to-end-vla": end_to_end_vla,
    "transformer-vla": transformer_vla,
    "rt1": rt1,
    "rt2": rt2,
    "palm-e": palm_e,
    "octo": octo,
    "pi0": pi0,
    "diffusion-policy": diffusion_policy,
    "act": act,
}
"""By name; ``sinew train PRESET --architecture NAME`` puts one in place of a preset's policy."""


def named(name: str, policy: PolicyConfig) -> PolicyConfig:
    """Return the architecture of that name, taught the points that ``policy`` is taught.

    Raises:
        ConfigError: there is none; the nearest and all names are given.
    """
    if name not in ARCHITECTURES:
        near = difflib.get_close_matches(name, ARCHITECTURES, n=1)
        guess = f"Did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"there is no architecture {name!r}. {guess}There is: {', '.join(ARCHITECTURES)}.")
    return dataclasses.replace(ARCHITECTURES[name](), grounding=policy.grounding)
