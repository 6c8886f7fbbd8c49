"""A script for each of two processes: trains together in several ways; what came of it lies in files afterwards."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from safetensors.torch import save_file
from torch import Tensor

from recipes.line_world import POLICY, WORLD, cloning, small_policy
from sinew.core.errors import TrainingError
from sinew.core.rundir import RunDir
from sinew.core.types import Batch, Cursor
from sinew.data.augment import Augment
from sinew.data.config import AugmentConfig
from sinew.data.store import Store
from sinew.engine.codec import encode
from sinew.engine.config import LoopConfig, OptimConfig, Parallel
from sinew.engine.distributed import in_turn, joined, world
from sinew.engine.optim import Optim
from sinew.engine.trainer import Trainer
from sinew.models.config import GaussianHeadConfig
from sinew.recipes.bc import BehaviourCloning
from sinew.recipes.config import DaggerConfig, GrpoConfig
from sinew.recipes.dagger import Dagger
from sinew.recipes.expert_rounds import ExpertRounds
from sinew.recipes.group_rounds import GroupRounds
from sinew.recipes.grpo import Grpo

LOOP = LoopConfig(updates=8, log_every=2, save_every=4, eval_at=(0.5,), keep=3)
BAD_UPDATE = 3
"""Number from 0 of the update in which a row of the last rank is not a number."""


class StopError(Exception):
    """Ends a run from within."""


class Poisoned:
    """Behaviour cloning in which one row of one batch is not a number, and that may stop."""

    def __init__(self, inner: BehaviourCloning, stop_at: int | None) -> None:
        self.inner, self.stop_at = inner, stop_at

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (all else is the recipe's)
        return getattr(self.inner, name)

    def batches(self, start: Cursor) -> Iterator[Batch[Tensor]]:
        """Yield its batches."""
        for update, batch in enumerate(self.inner.batches(start), start.update):
            bad = torch.zeros_like(batch.actions)
            if update == BAD_UPDATE and world().rank == world().size - 1:
                bad[-1] = float("nan")
            yield dataclasses.replace(batch, actions=batch.actions + bad)

    def update(self, batch: Batch[Tensor]) -> Any:  # noqa: ANN401
        """Do as the recipe does."""
        if self.inner.num_updates == self.stop_at:
            raise StopError
        return self.inner.update(batch)


def train(
    path: Path, store: Path, parallel: Parallel | None, *, stop_at: int | None = None
) -> tuple[Poisoned, list[str]]:
    """Train in a directory; return the recipe and what was said."""
    optim = OptimConfig(parallel=parallel, accumulate=2)
    recipe = Poisoned(cloning([Store.open(store)], LOOP.updates, optim=optim), stop_at)
    recipe.inner.augment = Augment(AugmentConfig(brightness=0.0, contrast=0.0))  # whose draws differ with the rank
    path.mkdir(parents=True, exist_ok=True)
    notes: list[str] = []
    options: dict[str, Any] = {"on_eval": float, "on_note": notes.append}
    Trainer(recipe, LOOP, RunDir(path), seed=0, **options).run()
    return recipe, notes


def keep(path: Path, recipe: Poisoned, notes: list[str]) -> None:
    """Write the acting weights, and what is worth knowing of each rank."""
    tensors, content = encode(recipe.state_dict())
    local = {name: getattr(item, "to_local", lambda item=item: item)() for name, item in tensors.items()}
    numbers = sum(item.numel() for item in recipe.optim.sharing.tensors().values())
    digest = hash((tuple((name, item.numpy().tobytes()) for name, item in local.items()), json.dumps(content)))
    told = world().gather({"parameters": numbers, "digest": digest, "skipped": int(recipe.optim.bad_total)})
    acting = recipe.acting()
    if world().is_main:
        save_file(acting.state_dict(), path.with_suffix(".safetensors"))
        path.with_suffix(".json").write_text(json.dumps({"ranks": told, "notes": notes}))


def train_rounds(path: Path, store: Path, kind: str, parallel: Parallel | None) -> None:
    """Train a recipe that acts, for a few updates."""
    muon = 1.0 if kind == "dagger" else None
    data, updates, optim = Store.open(store), 3, OptimConfig(parallel=parallel, ema=0.0, muon=muon)
    path.mkdir(parents=True, exist_ok=True)
    if kind == "grpo":
        policy = small_policy(data, config=dataclasses.replace(POLICY, head=GaussianHeadConfig(hidden=(32,))))
        config = GrpoConfig(scenes=3, group=4, epochs=1, minibatches=5, train="all")
        gather = GroupRounds(WORLD, config, 2, path / "data", 0)
        recipe: Any = Grpo(policy, gather, config, optim, updates=updates, seed=0)
    else:
        names = tuple(data.target_sizes)
        own = in_turn(lambda: Store.open_or_create(path / "own", data.spec, names))
        inner = cloning([data, own], updates, optim=optim)
        inner.augment = Augment(AugmentConfig(brightness=0.0, contrast=0.0))
        rounds = ExpertRounds(WORLD, DaggerConfig(rounds=(0.5,), episodes=50, take_over=0.2), path / "data", 0)
        recipe = Dagger(inner, own, rounds, rounds=[1])
    Trainer(recipe, dataclasses.replace(LOOP, updates=updates, log_every=1, eval_at=()), RunDir(path), seed=0).run()


def main(place: Path) -> None:
    """Train by DDP and by FSDP2, straight and interrupted, and go on with what one process began."""
    torch.set_num_threads(1)
    store = place / "demonstrations"
    with joined("cpu") as ranks:
        try:
            ranks.require_same("answer", ranks.rank)
        except TrainingError as error:
            (place / "refused.txt").write_text(str(error))
        line = torch.nn.Linear(1, 1)
        optim = Optim(line, OptimConfig(), 2)
        optim.step(optim.call("forward", torch.ones(1, 1)).sum())
        try:
            optim.step(line(torch.ones(1, 1)).sum())
        except TrainingError as error:
            (place / "past.txt").write_text(str(error))
        for parallel in ("ddp", "fsdp2"):
            keep(place / parallel, *train(place / parallel, store, parallel))
            stopped = place / f"{parallel}-stopped"
            try:
                train(stopped, store, parallel, stop_at=6)
            except StopError:
                keep(stopped, *train(stopped, store, parallel))
        train_rounds(place / "dagger-together", store, "dagger", None)
        train_rounds(place / "grpo-together", store, "grpo", "fsdp2")
        keep(place / "begun-alone", *train(place / "begun-alone", store, "fsdp2"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
