"""What is a spike and what is not."""

from __future__ import annotations

import math

import numpy as np

from sinew.engine.spikes import LEAST, Spikes


def healthy(count: int, seed: int = 0) -> list[float]:
    """A falling, noisy loss."""
    random = np.random.default_rng(seed)
    return (np.exp(-np.arange(count) / 500) * random.lognormal(sigma=0.3, size=count)).tolist()


def test_one_loss_far_out_is_found_where_it_is() -> None:
    spikes = Spikes(healthy(200))
    losses = healthy(20, seed=1)
    losses[7] *= 50
    assert spikes.judge(losses) == [7]
    assert spikes.judge(healthy(20, seed=2)) == []


def test_a_healthy_run_has_none() -> None:
    spikes, losses = Spikes(), healthy(5000)
    assert [place for at in range(0, 5000, 50) for place in spikes.judge(losses[at : at + 50])] == []


def test_nothing_is_judged_by_too_little_and_nan_is_not_a_spike() -> None:
    assert Spikes([1.0] * (LEAST - 1)).judge([1e9]) == []
    assert Spikes([1.0] * LEAST).judge([math.nan, math.inf, 1.5, 2.5]) == [3]


def test_a_new_level_is_no_spike_for_long() -> None:
    spikes = Spikes(healthy(256))
    found = [bool(spikes.judge([10 + noise for noise in healthy(16)])) for _ in range(20)]
    assert found[0]
    assert not any(found[-8:])


def test_losses_that_may_be_negative_are_judged_as_they_are() -> None:
    random = np.random.default_rng(0)
    spikes = Spikes((-3 + random.normal(size=200)).tolist())
    assert spikes.judge([-2.0, 1.0, 30.0]) == [2]


def test_what_is_remembered_goes_on_in_another_process() -> None:
    first = Spikes(healthy(300))
    second = Spikes(first.losses)
    losses = [0.1, 40.0, 0.3]
    assert first.judge(losses) == second.judge(losses) == [1]
    assert first.losses == second.losses
