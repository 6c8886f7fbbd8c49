"""A recipe as small as can be: a line fitted to points, with random numbers in every update."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sinew.core.rundir import RunDir
from sinew.core.types import Cursor, Metrics
from sinew.engine.config import LoopConfig, OptimConfig
from sinew.engine.optim import Ema, Optim
from sinew.engine.trainer import Trainer

LOOP = LoopConfig(updates=12, log_every=2, save_every=4, keep=2, eval_at=(0.5,), max_bad=3)


class Line(nn.Module):
    """y = w x + b through one hidden layer, with dropout and a buffer that counts."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 1))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 1)."""
        self.calls += 1
        return self.layers(x)

    def save_pretrained(self, directory: Path) -> None:
        """Write the weights."""
        save_file(self.state_dict(), directory / "model.safetensors")


@dataclass(frozen=True)
class Points:
    """Some points (B, 1)."""

    x: Tensor
    y: Tensor
    ids: Tensor

    @property
    def num_rows(self) -> int:
        """B."""
        return len(self.x)


class Fit:
    """Fits y = 2 x; draws from the global generator so that its state matters. ``poison`` names updates with NaN."""

    def __init__(self, seed: int = 0, updates: int = 12, poison: tuple[int, ...] = ()) -> None:
        torch.manual_seed(seed)
        self.line = Line()
        self.optim = Optim(self.line, OptimConfig(lr=0.01), updates)
        self.ema = Ema(self.line, 0.9)
        self.seed, self.poison = seed, poison

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The line."""
        return {"policy": self.line}

    @property
    def optims(self) -> Mapping[str, Optim]:
        """Its optimiser."""
        return {"policy": self.optim}

    def acting(self) -> nn.Module:
        """The averaged line."""
        return self.ema.module()

    def batches(self, start: Cursor) -> Iterator[Points]:
        """Yield points by (seed, update)."""
        update = start.update
        while True:
            x = torch.randn(4, 1, generator=torch.Generator().manual_seed(1000 * self.seed + update))
            points = Points(x, 2 * x, torch.arange(4) + 4 * update)
            yield replace(points, y=points.y * float("nan")) if update in self.poison else points
            update += 1

    def update(self, batch: Points) -> Metrics:
        """One step."""
        noise = 0.01 * torch.randn(4, 1)
        loss = (self.line(batch.x + noise) - batch.y).square().mean()
        norm = self.optim.step(loss)
        self.ema.update()
        return {"loss": loss.detach(), "grad_norm": norm}

    def state_dict(self) -> dict[str, Any]:
        """Return everything."""
        return {"line": self.line.state_dict(), "optim": self.optim.state_dict(), "ema": self.ema.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take it back."""
        self.line.load_state_dict(state["line"])
        self.optim.load_state_dict(state["optim"])
        self.ema.load_state_dict(state["ema"])


def train(path: Path, recipe: Fit | None = None, config: LoopConfig = LOOP, **options: Any) -> Fit:  # noqa: ANN401
    """Train in a directory and return the recipe."""
    recipe = recipe or Fit(updates=config.updates)
    path.mkdir(parents=True, exist_ok=True)
    Trainer(recipe, config, RunDir(path), seed=3, **options).run()
    return recipe


def evaluate(update: int) -> float:
    """An evaluation that draws random numbers."""
    return float(update) + 0 * float(torch.rand(()))


def weights(recipe: Fit) -> list[Tensor]:
    """Return every number that training changes."""
    averages = recipe.acting().state_dict().values()
    moments = [value for state in recipe.optim.adamw.state.values() for value in state.values()]
    return [value.clone() for value in (*recipe.line.state_dict().values(), *averages, *moments)]


def same(one: list[Tensor], two: list[Tensor]) -> bool:
    """Whether all are equal bit for bit."""
    return len(one) == len(two) and all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
