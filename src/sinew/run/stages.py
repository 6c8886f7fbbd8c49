"""Settings of runs that teach in stages, and of the conversations that they teach by; light to import."""

from __future__ import annotations

from dataclasses import dataclass, field

from sinew.engine.config import OptimConfig
from sinew.recipes.config import PretrainConfig


@dataclass(frozen=True)
class Stage:
    """One stage of a run: what is learned from which data, by which parts, how and how long.

    Attributes:
        name: for logs and tables.
        updates: its length.
    """

    name: str
    updates: int
    recipe: PretrainConfig = field(default_factory=PretrainConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)


@dataclass(frozen=True)
class TextsConfig:
    """Conversations about images.

    Attributes:
        captions: data set that aligns, in LLaVA's JSON or tar shards; empty means the one of instructions.
        instructions: data set of conversations; empty means that the world's scenes are described and asked about.
        scenes: of the world, to learn from. questions: of a scene at most.
        held_out: share of the records of a data set that are examined, never learned from.
        exam: questions of each kind and group at most; captions as many.
        blind: updates of a model that never sees an image, to compare with; 0 trains none.
    """

    captions: str = ""
    instructions: str = ""
    scenes: int = 12_000
    questions: int = 24
    held_out: float = 0.02
    exam: int = 300
    blind: int = 200
