"""Every world by name; adding one is a file and a line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sinew.envs.tabletop.config import TabletopConfig

if TYPE_CHECKING:
    from sinew.core.types import EnvConfig

ENVS: dict[str, type[EnvConfig]] = {"tabletop": TabletopConfig}
AnyEnvConfig = TabletopConfig
"""The type of ``RunConfig.env``; a union once there are more worlds."""
