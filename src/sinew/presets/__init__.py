"""Full configurations by name; adding one is a file and a line here."""

from __future__ import annotations

from collections.abc import Callable

from sinew.presets import bc, tabletop, tabletop_grpo, three_stage, vlm
from sinew.presets.size import Size
from sinew.run import RunConfig

PRESETS: dict[str, Callable[[Size], RunConfig]] = {
    "tabletop": tabletop.preset,
    "bc": bc.preset,
    "tabletop-grpo": tabletop_grpo.preset,
    "vlm": vlm.preset,
    "llava": vlm.llava,
    "vla-three-stage": three_stage.preset,
}
"""Functions of the size; their docstrings carry what ``sinew list`` prints."""
