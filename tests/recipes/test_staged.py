from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from recipes.toy_texts import pretraining, toy_vlm
from sinew.core.errors import ConfigError
from sinew.core.rundir import RunDir
from sinew.core.types import Cursor
from sinew.engine.codec import encode
from sinew.engine.config import LoopConfig
from sinew.engine.track import read_rows
from sinew.engine.trainer import Trainer
from sinew.recipes.config import PretrainConfig
from sinew.recipes.staged import Part, Staged

STAGES = {
    "read": PretrainConfig(data="captions", parts=("vision", "reader"), exchanges="first", plain=True, batch=4),
    "align": PretrainConfig(data="captions", parts=("projector",), exchanges="first", batch=4),
    "instruct": PretrainConfig(parts=("projector", "lm"), apart=2, balance="answer", batch=4),
}
LOOP = LoopConfig(updates=9, log_every=1, save_every=2, eval_at=())


class StopError(Exception):
    """Ends a run from within."""


def staged(path: Path, told: list[str]) -> Staged:
    vlm = toy_vlm()
    parts = [
        Part(name, 3, partial(pretraining, path, 3, config, seed=number, vlm=vlm))
        for number, (name, config) in enumerate(STAGES.items())
    ]
    return Staged(parts, on_stage=lambda _number, name: told.append(name))


def train(path: Path, *, stop_at: int | None = None) -> tuple[object, list[str]]:
    def stop(row: dict[str, float]) -> None:
        if row["update"] == stop_at:
            raise StopError

    path.mkdir(exist_ok=True)
    told: list[str] = []
    recipe = staged(path.parent, told)
    Trainer(recipe, LOOP, RunDir(path), seed=0, on_log=stop).run()
    tensors, content = encode(recipe.state_dict())
    return ({name: tensor.numpy().tobytes() for name, tensor in tensors.items()}, content), told


@pytest.mark.parametrize("stop_at", [5, 7, 8])  # in the middle of a stage, at its end after a save, and in the last one
def test_a_run_stopped_in_any_stage_ends_as_an_uninterrupted_one(stop_at: int, tmp_path: Path) -> None:
    straight, told = train(tmp_path / "a")
    assert told == list(STAGES)
    with pytest.raises(StopError):
        train(tmp_path / "b", stop_at=stop_at)
    again, _ = train(tmp_path / "b")
    assert again == straight
    assert [row["stage"] for row in read_rows(tmp_path / "b" / "metrics.jsonl")] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_each_stage_changes_its_own_parts(tmp_path: Path) -> None:
    recipe = staged(tmp_path, [])
    vlm = recipe.acting()
    batches = recipe.batches(Cursor())
    changed: list[set[str]] = []
    for _ in STAGES:
        before = {name: value.clone() for name, value in vlm.state_dict().items()}
        for _ in range(3):
            recipe.update(next(batches))
        now = vlm.state_dict()
        changed.append({name.partition(".")[0] for name in now if not torch.equal(now[name], before[name])})
    assert changed == [{"vision"}, {"projector"}, {"projector", "lm"}]
    assert recipe.ends == (3, 6, 9)
    with pytest.raises(StopIteration):
        next(batches)


def test_stages_without_updates_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="stages empty: each needs at least one update"):
        Staged([Part("empty", 0, partial(pretraining, tmp_path, 1, STAGES["align"]))])
