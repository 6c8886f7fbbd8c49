"""The one dial of every preset: how large the policy is, with the learning rate and batch that go with it."""

from __future__ import annotations

import dataclasses
from typing import Literal

from sinew.engine.config import OptimConfig
from sinew.models.config import FilmVisionConfig, LanguageConfig, MlpHeadConfig, PolicyConfig
from sinew.recipes.config import BcConfig, DaggerConfig, GrpoConfig
from sinew.run import RunConfig
from sinew.run.stages import Stage, TextsConfig, has_body

Size = Literal["tiny", "small", "base", "large"]
SIZES: tuple[Size, ...] = ("tiny", "small", "base", "large")


def sized_policy(size: Size) -> PolicyConfig:
    """Return the policy with every width scaled from size small; tiny is for tests."""
    scale, layers = {"tiny": (0.25, 1), "small": (1.0, 2), "base": (2.0, 3), "large": (4.0, 4)}[size]
    policy = PolicyConfig()
    vision, language, head = FilmVisionConfig(), LanguageConfig(), MlpHeadConfig()
    return dataclasses.replace(
        policy,
        vision=dataclasses.replace(vision, channels=_scaled(vision.channels, scale)),
        language=dataclasses.replace(language, width=int(language.width * scale), layers=layers),
        head=dataclasses.replace(head, hidden=_scaled(head.hidden, scale)),
        width=int(policy.width * scale),
    )


def sized_optim(size: Size) -> OptimConfig:
    """Return the optimiser: a learning rate that falls as 1 / width (Yang 2022, arXiv:2203.03466)."""
    lr = {"tiny": 3e-3, "small": 3e-3, "base": 1.5e-3, "large": 7.5e-4}[size]
    return OptimConfig(lr=lr)


def sized_recipe(size: Size) -> DaggerConfig:
    """Return DAgger around behaviour cloning with the rows per update of that size."""
    batch = {"tiny": 32, "small": 64, "base": 64, "large": 128}[size]
    return DaggerConfig(inner=BcConfig(batch=batch))


def shorten(config: RunConfig) -> RunConfig:
    """Return the same run made short enough to watch: about two minutes on two cores, and no claim to succeed."""
    if config.stages:
        return _shorten_stages(config, config.stages)
    recipe = config.recipe
    if isinstance(recipe, DaggerConfig):
        recipe = dataclasses.replace(recipe, rounds=recipe.rounds[:1], episodes=min(48, recipe.episodes))
    updates = 4 if isinstance(recipe, GrpoConfig) else 500
    return dataclasses.replace(
        config,
        recipe=recipe,
        collect=dataclasses.replace(
            config.collect, episodes=min(300, config.collect.episodes), stills=min(1000, config.collect.stills)
        ),
        loop=dataclasses.replace(config.loop, updates=min(updates, config.loop.updates)),
        evaluate=dataclasses.replace(config.evaluate, episodes=10, extra=5, quick=5, videos=4),
    )


def _shorten_stages(config: RunConfig, stages: tuple[Stage, ...]) -> RunConfig:
    share = 300 / sum(stage.updates for stage in stages)
    short = tuple(
        dataclasses.replace(stage, updates=min(stage.updates, max(1, round(share * stage.updates)))) for stage in stages
    )
    texts = config.texts or TextsConfig()
    if has_body(stages):
        config = dataclasses.replace(
            config,
            collect=dataclasses.replace(
                config.collect, episodes=min(300, config.collect.episodes), stills=min(1000, config.collect.stills)
            ),
            evaluate=dataclasses.replace(config.evaluate, episodes=10, extra=5, quick=5, videos=4),
        )
    return dataclasses.replace(
        config,
        stages=short,
        texts=dataclasses.replace(
            texts, scenes=min(1500, texts.scenes), exam=min(30, texts.exam), blind=min(50, texts.blind)
        ),
        loop=dataclasses.replace(config.loop, updates=sum(stage.updates for stage in short)),
    )


def _scaled(widths: tuple[int, ...], scale: float) -> tuple[int, ...]:
    return tuple(int(width * scale) for width in widths)
