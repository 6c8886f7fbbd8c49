"""A preflight foresees a run, changes nothing of it, and refuses what cannot fit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from engine.test_forecast import MEMORY
from engine.test_runcard import FORECAST
from engine.tiny import LOOP, Fit, same, train, weights
from sinew.core.errors import ConfigError
from sinew.core.launch import Launch
from sinew.core.rundir import RunDir
from sinew.engine import preflight
from sinew.engine.config import CostConfig, Parallel
from sinew.engine.forecast import Cost, Disk, Forecast, Memory, Stop, Time
from sinew.engine.preflight import Waits

RATES = CostConfig(watts=100.0, per_kwh=0.5)


def foresee(place: Path) -> preflight.Forecast:
    """Foresee a run of the smallest recipe."""
    waits = Waits((Stop(6, 2.0, "tryouts"),), after_s=3.0)
    return preflight.foresee(lambda _: Fit(), LOOP, waits=lambda *_: waits, cost=RATES, place=place)


def test_everything_is_foreseen(tmp_path: Path) -> None:
    found = foresee(tmp_path)
    assert found.memory.device == "cpu"
    assert found.memory.fits
    assert found.time.updates == 12
    assert found.time.total_s > 5.0
    assert found.time.by_kind()["checkpoints"][0] == 3
    assert found.disk.needed["checkpoints"] > 4 * (found.memory.weights + found.memory.kept)
    assert found.parts[0] == ("policy", 25, 0)
    assert found.cost.money(3600) == pytest.approx(0.05)


def test_a_run_has_the_same_bits_whether_it_was_foreseen_or_not(tmp_path: Path) -> None:
    plain = weights(train(tmp_path / "plain"))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    foresee(tmp_path)
    assert torch.equal(before, torch.get_rng_state())
    assert same(plain, weights(train(tmp_path / "foreseen")))


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    foresee(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_was_foreseen_is_kept_and_read_again(tmp_path: Path) -> None:
    rundir = RunDir(tmp_path)
    assert preflight.load(rundir) is None
    preflight.save(FORECAST, rundir)
    assert preflight.load(rundir) == FORECAST
    (tmp_path / preflight.FILE).write_text("{}")
    assert preflight.load(rundir) is None


def test_what_cannot_fit_is_refused_with_what_does() -> None:
    tight = dataclasses.replace(FORECAST, memory=dataclasses.replace(MEMORY, available=7000))
    with pytest.raises(ConfigError, match=r"--recipe.batch 32 fits; so does --optim.accumulate 3"):
        preflight.require_fit(tight, "recipe.batch", pieces=1)
    with pytest.raises(ConfigError, match=r"not even one row fits"):
        preflight.require_fit(
            dataclasses.replace(FORECAST, memory=dataclasses.replace(MEMORY, available=10)), "recipe.batch"
        )


def test_a_model_that_is_too_large_is_refused_before_it_is_built() -> None:
    device = torch.device("cpu")
    preflight.require_states(1000, 1000, averaged=True, device=device)
    with pytest.raises(ConfigError, match=r"10,000,000,000,000 parameters.*a smaller --size"):
        preflight.require_states(10**13, 10**13, averaged=False, device=device)


def test_large_parts_are_listed_by_their_own_parts() -> None:
    network = nn.ModuleDict({"eyes": nn.Linear(10, 10), "words": nn.Linear(5, 10)})
    policy = nn.ModuleDict({"network": network, "head": nn.Linear(3, 2)})
    policy["head"].requires_grad_(requires_grad=False)
    assert list(preflight.parts_of("policy", policy)) == [
        ("policy", 170, 8),
        ("policy.network.eyes", 110, 0),
        ("policy.network.words", 60, 0),
        ("policy.head", 0, 8),
    ]


@pytest.mark.parametrize(("parallel", "weights", "kept"), [("ddp", 100, 300), ("zero2", 100, 75), ("fsdp2", 25, 75)])
def test_each_of_several_processes_holds_its_part_and_counts_all_rows(
    monkeypatch: pytest.MonkeyPatch, parallel: Parallel, weights: int, kept: int
) -> None:
    monkeypatch.setattr(preflight, "launched", lambda: Launch(0, 4, 0, 2))
    alone = Forecast(
        Memory("cpu", 0, 100, 300, 800, 8, rows=8, row=100.0, available=2000, measured_rows=8),
        Time(10, 0.1),
        Disk({}, 1),
        Cost(),
    )
    each = preflight.of_each(alone, 4, parallel).memory
    assert (each.weights, each.kept, each.available) == (weights, kept, 1000)
    assert (each.rows, each.measured_rows) == (32, 32)
    assert not each.fits
    fitting = dataclasses.replace(each, rows=each.largest_batch, step=round(each.row * each.largest_batch))
    assert fitting.needed <= 1000
