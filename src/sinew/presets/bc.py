"""Your own recordings: one task, a few dozen demonstrations, no simulator."""

from __future__ import annotations

import dataclasses

from sinew.data.config import AugmentConfig, DataConfig
from sinew.engine.config import LoopConfig
from sinew.models.config import GroundingConfig
from sinew.presets.size import Size, sized_optim, sized_policy
from sinew.recipes.config import BcConfig
from sinew.run import RunConfig


def preset(size: Size = "small") -> RunConfig:
    """Imitate recordings of your own robot: `sinew train bc --data PATH`; what can be read is in docs/formats.md.

    Expected: 50 recorded lifts of one kind: 87 of 100 held-out states lifted, closed loop; size small.
    Time: about 5 minutes on 2 CPU cores for 50 recordings of 64 x 64 images; more frames cost no more updates.
    """
    policy = sized_policy(size)
    return RunConfig(
        name="bc",
        env=None,
        data=DataConfig(),
        policy=dataclasses.replace(policy, grounding=GroundingConfig(points=(("target", 3),))),
        recipe=BcConfig(batch=64, augment=AugmentConfig(brightness=0.25, contrast=0.25)),
        optim=dataclasses.replace(sized_optim(size), weight_decay=0.05, warmup=0.05),
        loop=LoopConfig(updates=2000, eval_at=tuple(share / 20 for share in range(4, 21))),
    )
