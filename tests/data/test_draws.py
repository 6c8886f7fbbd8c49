from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from numpy.typing import NDArray

from sinew.core.errors import ConfigError, DataError
from sinew.data.config import Stage
from sinew.data.draws import BLOCK, Draws, Plan

FRAMES = (40, 7, 300)


def plan(**changes: object) -> Plan:
    settings: dict[str, object] = {"frames": FRAMES, "weights": (1, 2, 1), "updates": 400, "batch": 16, "seed": 3}
    return Plan(**{**settings, **changes})  # pyright: ignore[reportArgumentType]


def drawn_rows(draws: Draws, updates: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    return [draws.rows(update) for update in range(updates)]


@pytest.mark.parametrize("temperature", [1, 2, 5, math.inf])
def test_frequencies_lie_within_three_sigma_of_temperature_sampling(temperature: float) -> None:
    draws = Draws(plan(temperature=temperature, weights=(1, 1, 1)))
    found = np.bincount(np.concatenate([source for source, _ in drawn_rows(draws, 400)]), minlength=3)
    exact = np.array(FRAMES, dtype=float) ** (0 if temperature == math.inf else 1 / temperature)
    chance = exact / exact.sum()
    rows = 400 * 16
    sigma = np.sqrt(rows * chance * (1 - chance))
    assert (np.abs(found - rows * chance) < 3 * sigma).all()
    assert (np.abs(found - rows * chance) < 3 * math.sqrt(400 / 4)).all()  # each update is off by less than one row


def test_every_update_is_off_by_less_than_a_row_and_none_is_missing() -> None:
    draws = Draws(plan())
    wanted = 16 * draws.chances(np.arange(400))
    counts = np.array([draws.counts(update) for update in range(400)])
    assert (counts.sum(axis=1) == 16).all()
    assert (np.abs(counts - wanted) < 1).all()
    assert counts.std(axis=0).max() > 0


def test_every_source_is_walked_through_whole_epoch_by_epoch() -> None:
    draws = Draws(plan())
    rows = drawn_rows(draws, 400)
    for source, size in enumerate(FRAMES):
        seen = np.sort(np.concatenate([frames[sources == source] for sources, frames in rows]))
        times = np.bincount(seen, minlength=size)
        assert len(times) == size
        assert times.max() - times.min() <= 1


def test_an_update_depends_on_its_number_only() -> None:
    forward = drawn_rows(Draws(plan()), 60)
    again = Draws(plan())
    for update in np.random.default_rng(0).permutation(60):
        for one, two in zip(forward[update], again.rows(int(update)), strict=True):
            np.testing.assert_array_equal(one, two)
    assert not np.array_equal(forward[5][1], Draws(plan(seed=4)).rows(5)[1])


def test_blocks_join_without_a_seam() -> None:
    draws = Draws(plan(batch=3, updates=3 * BLOCK))
    before = np.zeros(3, dtype=np.int64)
    for update in range(3 * BLOCK):
        if update in (BLOCK - 1, BLOCK, 2 * BLOCK):
            np.testing.assert_array_equal(Draws(plan(batch=3, updates=3 * BLOCK)).drawn(update), before)
        counts = draws.counts(update)
        assert counts.sum() == 3
        before = before + counts


def test_a_schedule_moves_the_shares() -> None:
    stages = (Stage(0.0, (1, 0, 0)), Stage(0.5, (1, 0, 0)), Stage(0.5, (0, 0, 1)))
    draws = Draws(plan(stages=stages))
    assert draws.drawn(200).tolist() == [3200, 0, 0]
    assert (draws.drawn(400) - draws.drawn(200)).tolist() == [0, 0, 3200]


def test_scores_change_what_follows_and_nothing_before() -> None:
    draws = Draws(plan())
    earlier = drawn_rows(draws, 50)
    draws.told(50, (0, 1, 1))
    assert set(draws.rows(70)[0].tolist()) == {1, 2}
    for update, rows in enumerate(earlier):
        np.testing.assert_array_equal(draws.rows(update)[1], rows[1])
    draws.told(80, (1, 1, 1))
    assert 0 in draws.rows(90)[0]
    np.testing.assert_allclose(draws.chances(np.array([0, 85])), Draws(plan()).chances(np.array([0, 0])))


def test_a_resumed_run_draws_what_an_uninterrupted_one_does() -> None:
    whole = Draws(plan())
    whole.told(20, (1, 3, 1))
    resumed = Draws(plan())
    resumed.rows(30)
    resumed.load_state_dict(pickle.loads(pickle.dumps(whole.state_dict())))
    for update in (19, 20, 33):
        for one, two in zip(whole.rows(update), resumed.rows(update), strict=True):
            np.testing.assert_array_equal(one, two)
    whole.told(20, (5, 1, 1))  # the evaluation after a checkpoint is repeated
    assert whole.changes == [(20, (5, 1, 1))]


def test_a_source_without_a_chance_is_never_drawn() -> None:
    draws = Draws(plan(frames=(3, 5, 0), weights=(1, 1, 0)))
    assert max(draws.rows(update)[0].max() for update in range(300)) == 1


def test_a_batch_larger_than_a_source_goes_round() -> None:
    sources, frames = Draws(plan(frames=(2, 3), weights=(1, 1), temperature=math.inf, batch=20)).rows(0)
    assert np.bincount(frames[sources == 0]).tolist() == [5, 5]


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"frames": (3, 0, 5)}, DataError, r"sources \[1\] of the mixture have no frames"),
        ({"batch": 0}, ConfigError, "batch 0"),
        ({"frames": ()}, ConfigError, "mixture of 0 sources"),
    ],
)
def test_what_cannot_be_drawn_from_is_refused(changes: dict[str, object], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        Draws(plan(**changes))


def test_factors_must_fit_the_sources() -> None:
    with pytest.raises(ConfigError, match="3 numbers of 0 or more"):
        Draws(plan()).told(3, (1, 2))
