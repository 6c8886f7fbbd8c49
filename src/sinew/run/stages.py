"""Settings of runs that teach in stages, and of the conversations that they teach by; light to import."""

from __future__ import annotations

from dataclasses import dataclass, field

from sinew.engine.config import OptimConfig
from sinew.models.encoder_config import LoraConfig
from sinew.recipes.config import AnyStageRecipe, BcConfig, CotrainConfig, PretrainConfig


@dataclass(frozen=True)
class Stage:
    """One stage of a run: what is learned from which data, by which parts, how and how long.

    Attributes:
        name: for logs and tables.
        updates: its length.
        recipe: pretrain teaches the vision-language model, cotrain a policy around it by windows and conversations, bc
            that policy by windows alone.
        lora: adapters that learn in place of the policy's language model, in the last stage; merged when it is kept.
    """

    name: str
    updates: int
    recipe: AnyStageRecipe = field(default_factory=PretrainConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    lora: LoraConfig | None = None

    @property
    def robot(self) -> BcConfig | None:
        """How windows of a robot are learned; None where a stage teaches by conversations alone."""
        if isinstance(self.recipe, CotrainConfig):
            return self.recipe.robot
        return self.recipe if isinstance(self.recipe, BcConfig) else None

    @property
    def batch(self) -> int:
        """Rows per update, without the conversations beside a robot's."""
        return self.recipe.robot.batch if isinstance(self.recipe, CotrainConfig) else self.recipe.batch

    @property
    def teaches(self) -> tuple[str, ...]:
        """What learns: parts of the vision-language model, or the policy around it by the kind of its recipe."""
        return self.recipe.parts if isinstance(self.recipe, PretrainConfig) else (self.recipe.kind,)


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


def has_body(stages: tuple[Stage, ...] | None) -> bool:
    """Return whether a run in stages ends with a policy instead of the vision-language model that it teaches."""
    return any(stage.robot is not None for stage in stages or ())
