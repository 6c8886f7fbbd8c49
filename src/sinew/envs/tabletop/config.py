"""Settings of the embedded table-top world; light to import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from sinew.core.types import Policy, VecEnv


@dataclass(frozen=True)
class TabletopConfig:
    """A gripper over a table with coloured objects and zones, told what to do in words.

    Attributes:
        image_size: height and width of the policy's view [px].
        max_ticks: length after which an episode is truncated, by task.
    """

    kind: Literal["tabletop"] = "tabletop"
    image_size: int = 64
    max_ticks: int = 60

    def build(self, num_envs: int) -> VecEnv:
        """Return the world with that many rows."""
        from sinew.envs.tabletop.env import TabletopVecEnv

        return TabletopVecEnv(self, num_envs)

    def expert(self) -> Policy:
        """Return the scripted expert."""
        from sinew.envs.tabletop.expert import TabletopExpert

        return TabletopExpert(self)
