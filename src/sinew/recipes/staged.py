"""Recipes one after another on the same weights, as one: a run with stages has one loop and one directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from sinew.core.errors import ConfigError
from sinew.core.types import Cursor, Metrics, Recipe, Stateful


@dataclass(frozen=True)
class Part:
    """One stage.

    Attributes:
        name: for people.
        updates: how long it is.
        build: returns its recipe on the weights as they are then; the recipe's state holds all weights of the run.
        settings: what a run that goes on must agree in, as JSON values.
    """

    name: str
    updates: int
    build: Callable[[], Recipe[Any]]
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Current(Mapping[str, Stateful]):
    """The optimisers of whichever stage runs now."""

    def __init__(self, staged: Staged) -> None:
        self.staged = staged

    def __getitem__(self, name: str) -> Stateful:
        return self.staged.recipe.optims[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.staged.recipe.optims)

    def __len__(self) -> int:
        return len(self.staged.recipe.optims)


class Staged:
    """Runs each stage to its end, then builds the next; only the current one exists.

    What a stage needs beside the weights (moments, a part that is thrown away) ends with it. A checkpoint holds the
    number of the stage and its recipe's state, so a run resumes in the middle of any stage as it would have gone on.

    Args:
        parts: at least one, each with at least one update.
        on_stage: told number and name of every stage that begins or is resumed.
    """

    def __init__(self, parts: Sequence[Part], *, on_stage: Callable[[int, str], None] | None = None) -> None:
        short = [part.name for part in parts if part.updates < 1]
        if not parts or short:
            raise ConfigError(f"stages {', '.join(short) or 'missing'}: each needs at least one update.")
        self.parts, self.on_stage = tuple(parts), on_stage
        self.num_updates = 0
        self.stage = -1
        self.recipe = self._enter(0)

    @property
    def ends(self) -> tuple[int, ...]:
        """Updates of the run after which each stage has ended."""
        sums: list[int] = []
        for part in self.parts:
            sums.append(part.updates + (sums[-1] if sums else 0))
        return tuple(sums)

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Those of the current stage."""
        return self.recipe.modules

    @property
    def optims(self) -> Mapping[str, Stateful]:
        """Those of the current stage; the mapping changes with it."""
        return Current(self)

    @property
    def settings(self) -> dict[str, Any]:
        """What a run that goes on must agree in, by stage."""
        return {part.name: {"updates": part.updates, **part.settings} for part in self.parts}

    def acting(self) -> nn.Module:
        """Return what acts, from the current stage."""
        return self.recipe.acting()

    def batches(self, start: Cursor) -> Iterator[Any]:
        """Yield the batches of all stages; a stage's own begin at its beginning."""
        for number, end in enumerate(self.ends):
            begin = end - self.parts[number].updates
            if start.update >= end:
                continue
            if number > self.stage:
                self.recipe = self._enter(number)
            inner = self.recipe.batches(Cursor(max(0, start.update - begin)))
            for _ in range(max(begin, start.update), end):
                yield next(inner)

    def update(self, batch: Any) -> Metrics:  # noqa: ANN401  (the current stage's batch)
        """Learn from one batch by the current stage."""
        metrics = self.recipe.update(batch)
        self.num_updates += 1
        return {**metrics, "stage": float(self.stage)}

    def state_dict(self) -> dict[str, Any]:
        """Return the stage's number and state."""
        return {"num_updates": self.num_updates, "stage": self.stage, "recipe": self.recipe.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take them back, building the stage that they are of."""
        self.num_updates = state["num_updates"]
        if state["stage"] != self.stage:
            self.recipe = self._enter(int(state["stage"]))
        self.recipe.load_state_dict(state["recipe"])

    def _enter(self, number: int) -> Recipe[Any]:
        part = self.parts[number]
        recipe = part.build()
        self.stage = number
        if self.on_stage is not None:
            self.on_stage(number, part.name)
        return recipe
