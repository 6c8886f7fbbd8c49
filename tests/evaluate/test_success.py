from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sinew.core.errors import CheckpointError, SinewError, SpecError
from sinew.core.types import NumpyObservation, Rows, Statistics
from sinew.evaluate.config import EvaluateConfig
from sinew.evaluate.plan import Listing, plan
from sinew.evaluate.success import Cell, Job, measure, run_job
from sinew.models.config import LanguageConfig, PolicyConfig
from sinew.models.language import train_tokenizer
from sinew.models.policy import VLAPolicy
from toy import ToyConfig, ToyExpert

CONFIG = ToyConfig()
LISTINGS = plan(CONFIG.build(1), EvaluateConfig(episodes=20, extra=11))


class Reader(ToyExpert):
    """Reads images and instruction like a trained policy: it finds the bright column and goes where it is told."""

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> np.ndarray:
        column = obs.images["front"][:, -1, 0, -1].argmax(axis=1)
        where = column / (CONFIG.size - 1) * 3.0 - 1.5
        goal = np.array([{"go left": -1.0, "go right": 1.0}.get(text, 0.0) for text in obs.instruction])
        gap = goal - np.where(column > 0, obs.state[:, -1, 0], where)
        return np.stack([np.clip(gap, -0.25, 0.25), np.abs(gap) < 0.25], axis=1).astype(np.float32)


class Noisy(ToyExpert):
    """Draws from torch's global stream, as a sampling head does."""

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> np.ndarray:
        actions = super().select_action(obs, rows)
        return actions + torch.randn(actions.shape).numpy() * 0.2


@dataclass(frozen=True)
class Dying(ToyConfig):
    """A world that takes its process with it."""

    def build(self, num_envs: int) -> object:
        os._exit(1)


def pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork"))


def pooled(cells: tuple[Cell, ...], control: str) -> float:
    chosen = [cell for cell in cells if cell.control == control]
    return sum(cell.successes for cell in chosen) / sum(cell.n for cell in chosen)


def test_a_policy_that_listens_and_looks_succeeds_only_where_it_should() -> None:
    cells = measure(Reader(CONFIG), CONFIG, LISTINGS, rows=4)
    assert pooled(cells, "none") == pooled(cells, "expert") == pooled(cells, "other") == 1.0
    for control in ("wrong", "silent", "blank", "random"):
        assert pooled(cells, control) < 0.2


def test_cells_come_in_order_with_every_listed_state() -> None:
    cells = measure("expert", CONFIG, LISTINGS, rows=3)
    assert [(cell.split, cell.task, cell.control) for cell in cells] == [
        (one.split, one.task, one.control) for one in LISTINGS
    ]
    for cell, listing in zip(cells, LISTINGS, strict=True):
        assert tuple(outcome.state_id for outcome in cell.outcomes) == listing.state_ids


def test_rows_do_not_change_what_a_row_independent_policy_does() -> None:
    listings = [one for one in LISTINGS if one.control != "random"]
    assert measure("expert", CONFIG, listings, rows=1) == measure("expert", CONFIG, listings, rows=5)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_workers_change_nothing_not_even_of_a_policy_that_draws() -> None:
    alone = measure(Noisy(CONFIG), CONFIG, LISTINGS, rows=4, seed=5)
    with pool(2) as workers:
        assert measure(Noisy(CONFIG), CONFIG, LISTINGS, rows=4, seed=5, pool=workers) == alone
    assert measure(Noisy(CONFIG), CONFIG, LISTINGS, rows=4, seed=6) != alone


def test_measuring_leaves_torch_as_it_was() -> None:
    torch.manual_seed(0)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    measure(Noisy(CONFIG), CONFIG, LISTINGS[:2], rows=4)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_progress_reaches_the_total() -> None:
    seen: list[tuple[int, int]] = []
    measure("expert", CONFIG, LISTINGS, rows=4, progress=lambda done, total: seen.append((done, total)))
    total = sum(len(one.state_ids) for one in LISTINGS)
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_nothing_listed_gives_nothing() -> None:
    assert measure("expert", CONFIG, [], rows=4) == ()


def test_a_cell_counts_its_successes() -> None:
    stuck = ToyConfig(stuck=2)
    (cell,) = measure(
        "expert", stuck, [Listing("seen", "left", "none", stuck.build(1).states("seen", "left", 10))], rows=4
    )
    assert (cell.n, cell.successes, cell.rate) == (10, 5, 0.5)
    assert cell.low < 0.5 < cell.high
    assert {outcome.note for outcome in cell.outcomes if not outcome.success} == {"out of time"}


def test_a_policy_of_another_robot_is_refused_with_both_sides() -> None:
    job = Job(ToyExpert(ToyConfig(size=16)), CONFIG, ("seen/left/0",), rows=1)
    with pytest.raises(SpecError, match=r"cameras.front.height\n +policy +16\n +world +8"):
        run_job(job)


def test_a_directory_that_is_none_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no policy can be read there"):
        run_job(Job(str(tmp_path / "gone"), CONFIG, ("seen/left/0",), rows=1))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_dead_worker_is_one_clear_error() -> None:
    with pool(1) as workers, pytest.raises(SinewError, match="worker process died after 0 of"):
        measure("expert", Dying(), LISTINGS, rows=4, pool=workers)


def test_a_saved_policy_is_loaded_again_when_its_directory_changes(tmp_path: Path) -> None:
    def save(embodiment: str) -> None:
        config = PolicyConfig(language=LanguageConfig(width=8, layers=1, heads=2), width=8)
        policy = VLAPolicy(config, replace(CONFIG.spec, embodiment=embodiment), train_tokenizer(["go left"]))
        one = np.ones(2, dtype=np.float32)
        policy.fit_normalizer(dict.fromkeys(("state", "action"), Statistics(0 * one, one, -one, one, -one, one, 9)))
        policy.save_pretrained(tmp_path)

    save("toy")
    job = Job(str(tmp_path), CONFIG, ("seen/left/0", "seen/right/0"), rows=2)
    assert [outcome.ticks > 0 for outcome in run_job(job)] == [True, True]
    save("another")
    with pytest.raises(SpecError, match="embodiment"):
        run_job(job)
