"""The first run: four skills on an embedded table-top, learned from pixels and words on a CPU."""

from __future__ import annotations

import dataclasses

from sinew.data.config import AugmentConfig, CollectConfig
from sinew.engine.config import LoopConfig
from sinew.envs.tabletop.config import HUES, TabletopConfig
from sinew.models.config import GroundingConfig
from sinew.presets.size import Size, sized_optim, sized_policy, sized_recipe
from sinew.run import RunConfig


def preset(size: Size = "small") -> RunConfig:
    """Touch, lift, place and push named objects, from pixels and a sentence, on two CPU cores.

    Expected: 96 to 100 % of unseen states per skill (300 each, 3 seeds), 96 % on unseen colour-shape pairs; size small.
    Time: about 8 minutes on 2 idle CPU cores, demonstrations and report included (benchmarks/first_run.py).
    """
    policy, recipe = sized_policy(size), sized_recipe(size)
    dagger = {"touch": 1.0, "lift": 2.0, "place": 2.0, "push": 7.0}
    inner = dataclasses.replace(recipe.inner, augment=AugmentConfig(hue=1.0, hue_words=HUES))
    return RunConfig(
        name="tabletop",
        env=TabletopConfig(),
        collect=CollectConfig(episodes=2400, mix={"touch": 1, "lift": 2, "place": 4, "push": 6}, stills=12_000),
        policy=dataclasses.replace(policy, grounding=GroundingConfig(points=(("target", 3), ("goal", 2)))),
        recipe=dataclasses.replace(recipe, inner=inner, mix=dagger),
        optim=sized_optim(size),
        loop=LoopConfig(updates=5800),
    )
