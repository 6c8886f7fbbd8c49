"""A job for the processes of a launcher: trains on tabletop demonstrations and leaves what a benchmark compares."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from sinew.core.rundir import RunDir
from sinew.core.types import Batch, Cursor
from sinew.data.config import AugmentConfig
from sinew.data.store import Store
from sinew.data.windows import Windows
from sinew.engine.config import LoopConfig, Parallel
from sinew.engine.distributed import joined, world
from sinew.engine.trainer import Trainer
from sinew.presets import PRESETS
from sinew.recipes.bc import BehaviourCloning
from sinew.recipes.config import BcConfig
from sinew.run.parts import build_policy

BATCH = 32


class Watched:
    """Behaviour cloning that writes down which rows each rank sees, and may see one that is not a number."""

    def __init__(self, inner: BehaviourCloning, log: Path, bad_update: int | None) -> None:
        self.inner, self.log, self.bad_update = inner, log, bad_update

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (all else is the recipe's)
        return getattr(self.inner, name)

    def batches(self, start: Cursor) -> Iterator[Batch[Tensor]]:
        """Yield its batches."""
        for update, batch in enumerate(self.inner.batches(start), start.update):
            assert batch.ids is not None
            rows = list(zip(batch.source, batch.ids.tolist(), strict=True))
            with self.log.open("a") as file:
                file.write(json.dumps([update, rows]) + "\n")
            if update == self.bad_update and world().rank == world().size - 1:
                batch = dataclasses.replace(batch, actions=batch.actions * float("nan"))
            yield batch


def build(
    place: Path, *, parallel: Parallel | Literal["none"], augment: bool, updates: int, accumulate: int
) -> BehaviourCloning:
    """Return behaviour cloning as the first run does it at its smallest size."""
    config = PRESETS["tabletop"]("tiny")
    shared = None if parallel == "none" else parallel
    # A rate at which rounding stays rounding: at that of the preset, 50 updates make 1e-3 of it.
    optim = dataclasses.replace(config.optim, parallel=shared, lr=5e-4, accumulate=accumulate)
    config = dataclasses.replace(config, optim=optim, device="cpu")
    store = Store.open(place)
    policy = build_policy(config, store)
    windows = Windows([store], history=config.policy.history, horizon=config.policy.horizon)
    plain = AugmentConfig(brightness=0.0, contrast=0.0)
    recipe = BcConfig(batch=BATCH, augment=AugmentConfig(hue=1.0) if augment else plain)
    return BehaviourCloning(policy, windows, recipe, config.optim, updates=updates, seed=0)


def main() -> None:
    """Train; arguments: a JSON object with store, out, parallel, augment, updates, accumulate, bad."""
    told = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    out = Path(told["out"])
    (out / "run").mkdir(parents=True, exist_ok=True)
    with joined("cpu") as ranks:
        (out / f"pid-{ranks.rank}").write_text(str(os.getpid()))
        settings = {name: told[name] for name in ("parallel", "augment", "updates", "accumulate")}
        recipe = build(Path(told["store"]), **settings)
        watched = Watched(recipe, out / f"rows-{ranks.rank}.jsonl", told["bad"])
        loop = LoopConfig(updates=told["updates"], log_every=1, save_every=10, eval_at=(), keep=2)
        notes: list[str] = []
        Trainer(watched, loop, RunDir(out / "run"), seed=0, on_note=notes.append).run()
        here = sum(part.numel() for part in recipe.optim.sharing.tensors().values())
        counts = ranks.gather(here)
        if ranks.is_main:
            skipped = int(recipe.optim.bad_total)
            finite = all(bool(item.isfinite().all()) for item in recipe.acting().state_dict().values())
            (out / "done.json").write_text(
                json.dumps({"parameters": counts, "notes": notes, "skipped": skipped, "finite": finite})
            )
        else:
            recipe.acting()


if __name__ == "__main__":
    main()
