"""What every recipe must do: finite updates, and the same end after any interruption."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from recipes.line_world import build_recipe
from sinew.core.rundir import RunDir
from sinew.core.types import Cursor, RLBatch
from sinew.engine.codec import encode
from sinew.engine.config import LoopConfig
from sinew.engine.track import read_rows
from sinew.engine.trainer import Trainer
from sinew.recipes.config import RECIPES, STAGE_RECIPES

EVERY = (*RECIPES, *STAGE_RECIPES)
LOOP = LoopConfig(updates=20, log_every=1, save_every=4, eval_at=())


class StopError(Exception):
    """Ends a run from within."""


def train(kind: str, path: Path, *, stop_at: int | None = None) -> object:
    """Train a recipe in ``path`` and return its whole state."""

    def stop(row: dict[str, float]) -> None:
        if row["update"] == stop_at:
            raise StopError

    recipe = build_recipe(kind, path, LOOP.updates)
    Trainer(recipe, LOOP, RunDir(path), seed=0, on_log=stop).run()
    tensors, content = encode(recipe.state_dict())
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}, content


@pytest.mark.parametrize("kind", EVERY)
def test_twenty_finite_updates_that_change_every_trained_module(kind: str, tmp_path: Path) -> None:
    before = {
        name: [item.clone() for item in module.parameters()]
        for name, module in build_recipe(kind, tmp_path / "untrained", 20).modules.items()
    }
    train(kind, tmp_path)
    rows = [row for row in read_rows(tmp_path / "metrics.jsonl") if "finding" not in row]
    assert [row["update"] for row in rows] == list(range(1, 21))
    assert all(value is not None for row in rows for value in row.values())
    assert rows[-1]["skipped"] == 0
    recipe = build_recipe(kind, tmp_path, LOOP.updates)
    Trainer(recipe, LOOP, RunDir(tmp_path), seed=0).resume()
    for name, module in recipe.modules.items():
        assert not all(torch.equal(a, b) for a, b in zip(before[name], module.parameters(), strict=True))


@pytest.mark.parametrize("stop_at", [6, 11])
@pytest.mark.parametrize("kind", EVERY)
def test_a_stopped_run_ends_as_an_uninterrupted_one(kind: str, stop_at: int, tmp_path: Path) -> None:
    straight = train(kind, tmp_path / "a")
    with pytest.raises(StopError):
        train(kind, tmp_path / "b", stop_at=stop_at)
    assert train(kind, tmp_path / "b") == straight


@pytest.mark.parametrize("kind", EVERY)
def test_the_seed_changes_the_result(kind: str, tmp_path: Path) -> None:
    one, two = (build_recipe(kind, tmp_path / str(seed), 20, seed=seed) for seed in (0, 1))
    assert str(encode(one.state_dict())[0]) != str(encode(two.state_dict())[0])


@pytest.mark.parametrize("kind", RECIPES)
def test_an_update_runs_on_the_meta_device(kind: str, tmp_path: Path) -> None:
    """There every look at a number raises, so an update that runs makes no host wait for a GPU."""
    batch = next(build_recipe(kind, tmp_path / "cpu", 20).batches(Cursor(0)))
    if isinstance(batch, RLBatch):  # of which the rows of a step alone go to the device
        batch = dataclasses.replace(batch, advantage=torch.ones(batch.num_rows))
    else:
        batch = batch.map(lambda array: array.to("meta"))
    recipe = build_recipe(kind, tmp_path / "meta", 20, device="meta")
    metrics = recipe.update(batch)
    assert {metrics[name].device.type for name in ("loss", "grad_norm")} == {"meta"}
    assert {item.device.type for item in recipe.acting().parameters()} == {"meta"}
