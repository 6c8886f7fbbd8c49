"""Trains alone, then as one of two processes that DeepSpeed shares, and compares what came of both."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from engine.two_ranks import LOOP, StopError, keep, train
from recipes.line_world import demonstrations
from sinew.core.errors import ConfigError
from sinew.core.launch import launched
from sinew.engine.config import OptimConfig
from sinew.engine.distributed import joined
from sinew.engine.optim import Optim
from sinew.engine.ranks import verified
from sinew.engine.track import read_rows

STAGES = ("zero2", "zero3")


def begin(place: Path) -> None:
    """Train in one process; leave a run that it has half done for each stage to go on with."""
    demonstrations(place / "demonstrations")
    keep(place / "single", *train(place / "single", place / "demonstrations", None))
    for stage in STAGES:
        shutil.copytree(place / "single", place / f"{stage}-begun-alone", symlinks=True)
        shutil.rmtree(place / f"{stage}-begun-alone" / "checkpoints" / "8")


def share(place: Path) -> None:
    """Train in the stage that the launcher was told: straight, stopped and gone on with, and on what one began."""
    stage, store = launched().strategy, place / "demonstrations"
    with joined("cpu"):
        keep(place / stage, *train(place / stage, store, None))
        stopped = place / f"{stage}-stopped"
        try:
            train(stopped, store, None, stop_at=6)
        except StopError:
            keep(stopped, *train(stopped, store, None))
        keep(place / f"{stage}-begun-alone", *train(place / f"{stage}-begun-alone", store, None))
        torch.manual_seed(0)
        two = {name: Optim(torch.nn.Linear(2, 2), OptimConfig(), 2) for name in ("actor", "critic")}
        try:
            verified(two, print)
        except ConfigError as error:
            (place / f"{stage}-refused.txt").write_text(str(error))


def end(place: Path) -> None:
    """Compare."""
    alone = losses(place / "single")
    alone_weights = load_file(place / "single.safetensors")
    full = sum(item.numel() for name, item in alone_weights.items() if "normalizer" not in name)
    for stage in STAGES:
        told = {name: json.loads((place / f"{name}.json").read_text()) for name in (stage, f"{stage}-stopped")}
        ranks = told[stage]["ranks"]
        gap = apart(alone, losses(place / stage))
        weights = load_file(place / f"{stage}.safetensors")
        drift = max(float((weights[name] - alone_weights[name]).abs().max()) for name in alone_weights)
        assert shapes(weights) == shapes(alone_weights)
        assert gap <= 1e-4, (stage, gap)
        assert ranks == told[f"{stage}-stopped"]["ranks"], f"{stage}: gone on with, it ends otherwise than straight"
        assert [rank["skipped"] for rank in ranks] == [1, 1]
        counts = [rank["parameters"] for rank in ranks]
        assert (max(counts) < 0.6 * full) is (stage == "zero3"), counts
        assert apart(alone, losses(place / f"{stage}-begun-alone")) <= 1e-4
        assert "2 optimisers (actor, critic)" in (place / f"{stage}-refused.txt").read_text()
        shutil.copytree(place / stage, place / f"{stage}-ended-alone", symlinks=True)
        shutil.rmtree(place / f"{stage}-ended-alone" / "checkpoints" / "8")
        train(place / f"{stage}-ended-alone", place / "demonstrations", None)
        assert apart(alone, losses(place / f"{stage}-ended-alone")) <= 1e-4
        print(
            f"{stage}: losses {gap:.1g} and weights {drift:.1g} from one process, {counts} of {full} parameters here;"
        )
        print(f"  {next(note for note in told[stage]['notes'] if 'ZeRO' in note)}")


def losses(path: Path) -> dict[int, float]:
    """Return the loss of each row but of that with the bad update."""
    rows = {row["update"]: float(row["loss"]) for row in read_rows(path / "metrics.jsonl") if "loss" in row}
    assert list(rows) == list(range(LOOP.log_every, LOOP.updates + 1, LOOP.log_every))
    return {update: loss for update, loss in rows.items() if update != 4}


def shapes(tensors: dict[str, Tensor]) -> dict[str, torch.Size]:
    """Return sizes by name."""
    return {name: item.shape for name, item in tensors.items()}


def apart(one: dict[int, float], two: dict[int, float]) -> float:
    """Return the largest difference."""
    return max(abs(one[update] - two[update]) for update in one)


if __name__ == "__main__":
    torch.set_num_threads(1)
    jobs: dict[str, Callable[[Path], None]] = {"begin": begin, "train": share, "end": end}
    jobs[sys.argv[1]](Path(sys.argv[2]))
