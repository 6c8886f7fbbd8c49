"""Settings of the embedded table-top world; light to import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sinew.core.errors import ConfigError

if TYPE_CHECKING:
    from sinew.core.sights import Sights
    from sinew.core.types import Policy, VecEnv

LARGEST = {"objects": 4, "colours": 10, "shapes": 5, "zones": 3}
HUES = ("red", "blue", "green", "yellow", "purple", "pink", "cyan", "brown", "lime", "magenta", "orange")
"""Names of objects and zones that are false once the hues of an image are turned."""


VERSION = 2
"""Raised whenever the same settings and state ids come to mean other scenes."""


@dataclass(frozen=True)
class TabletopConfig:
    """A gripper over a table with coloured objects and zones, told what to do in words.

    Attributes:
        image_size: height and width of the policy's view [px].
        max_ticks: longest episode [ticks of 0.1 s]; the simpler skills end earlier.
        objects: objects on the table, 2 to 4.
        colours: object colours in use, 2 to 10, in the order of ``scene.COLOURS``.
        shapes: object shapes in use, 1 to 5 (cube, ball, cylinder, cup, bottle).
        zones: zones on the table, 1 to 3.
        mid_starts: share of ``train`` episodes that begin in the middle of the task.
        version: of the world, so that runs and recordings of an older one are not taken for this one's.
    """

    kind: Literal["tabletop"] = "tabletop"
    image_size: int = 64
    max_ticks: int = 70
    objects: int = 3
    colours: int = 10
    shapes: int = 3
    zones: int = 2
    mid_starts: float = 0.35
    version: int = VERSION

    def __post_init__(self) -> None:
        """Refuse values outside the world.

        Raises:
            ConfigError: a value is out of its range.
        """
        smallest = {"objects": 2, "colours": 2, "shapes": 1, "zones": 1}
        for name, most in LARGEST.items():
            value = getattr(self, name)
            if not smallest[name] <= value <= most:
                raise ConfigError(f"tabletop.{name} is {value}; give a number from {smallest[name]} to {most}.")
        if self.colours * self.shapes < self.objects:
            raise ConfigError(
                f"tabletop: {self.colours} colours x {self.shapes} shapes cannot make {self.objects} different things. "
                "Raise colours or shapes, or lower objects."
            )
        if self.version != VERSION:
            raise ConfigError(f"tabletop.version is {self.version}, this sinew has version {VERSION} of the world.")
        if self.image_size < 16 or self.max_ticks < 1 or not 0 <= self.mid_starts <= 1:
            raise ConfigError(
                f"tabletop: image_size {self.image_size}, max_ticks {self.max_ticks}, mid_starts {self.mid_starts}; "
                "wanted at least 16, at least 1, and a share from 0 to 1."
            )

    def build(self, num_envs: int) -> VecEnv:
        """Return the world with that many rows."""
        from sinew.envs.tabletop.env import TabletopVecEnv

        return TabletopVecEnv(self, num_envs)

    def expert(self) -> Policy:
        """Return the scripted expert."""
        from sinew.envs.tabletop.expert import TabletopExpert

        return TabletopExpert(self)

    def sights(self) -> Sights:
        """Return still scenes of the world with what is said of them."""
        from sinew.envs.tabletop.sights import TabletopSights

        return TabletopSights(self)


STAGES: tuple[TabletopConfig, ...] = (
    TabletopConfig(objects=2, colours=2, shapes=2, zones=1),
    TabletopConfig(objects=2, colours=4, shapes=2),
    TabletopConfig(),
    TabletopConfig(objects=4, shapes=5, zones=3),
)
"""From easy to hard; the third is the default."""
