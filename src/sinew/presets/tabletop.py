"""The first run: four skills on an embedded table-top, learned from pixels and words on a CPU."""

from __future__ import annotations

import dataclasses

from sinew.data.config import CollectConfig
from sinew.envs.tabletop.config import TabletopConfig
from sinew.models.config import GroundingConfig
from sinew.presets.size import Size, sized_optim, sized_policy, sized_recipe
from sinew.run import RunConfig


def preset(size: Size = "small") -> RunConfig:
    """Touch, lift, place and push named objects, from pixels and a sentence, on two CPU cores.

    Expected: 97 to 98 % of unseen states per skill (300 each, 3 seeds), 73 % on unseen colour-shape pairs; size small.
    Time: about 8 minutes on 2 idle CPU cores, demonstrations and report included (benchmarks/first_run.py).
    """
    policy = sized_policy(size)
    return RunConfig(
        name="tabletop",
        env=TabletopConfig(),
        collect=CollectConfig(mix={"touch": 2, "lift": 3, "place": 4, "push": 4}),
        policy=dataclasses.replace(policy, grounding=GroundingConfig(points=(("target", 3), ("goal", 2)))),
        recipe=dataclasses.replace(sized_recipe(size), mix={"touch": 1, "lift": 2, "place": 2, "push": 7}),
        optim=sized_optim(size),
    )
