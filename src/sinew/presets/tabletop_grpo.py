"""Reinforcement learning on the embedded table-top: a trained policy gets better by what succeeds."""

from __future__ import annotations

import dataclasses

from sinew.engine.config import LoopConfig
from sinew.models.config import GaussianHeadConfig
from sinew.presets import tabletop
from sinew.presets.size import Size, sized_optim
from sinew.recipes.config import GrpoConfig
from sinew.run import RunConfig


def preset(size: Size = "small") -> RunConfig:
    """Improve a trained policy by what succeeds: `sinew train tabletop-grpo --from RUN`; gaussian or flow head.

    Expected: from a weak start, 28 points (3 seeds) where two skills are practised, 12 to 20 over four; docs/grpo.md.
    Time: about 3 CPU-minutes for 10,000 episodes.
    """
    base = tabletop.preset(size)
    optim = sized_optim(size)
    return dataclasses.replace(
        base,
        name="tabletop-grpo",
        policy=dataclasses.replace(base.policy, head=GaussianHeadConfig(), execute=base.policy.horizon),
        recipe=GrpoConfig(),
        optim=dataclasses.replace(optim, lr=optim.lr / 3, weight_decay=0.0, warmup=0.05, final=0.1, ema=0.0),
        loop=LoopConfig(updates=40, log_every=1, save_every=5, eval_at=(0.5,)),
    )
