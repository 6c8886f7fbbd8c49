from __future__ import annotations

import math

import numpy as np
import pytest

from sinew.core.errors import ConfigError
from sinew.data.config import Stage
from sinew.data.shares import Attention, shares, task_weights, weights_at


def test_shares_follow_the_formula_worked_out_by_hand() -> None:
    np.testing.assert_allclose(shares([100, 300], [1, 1]), [0.25, 0.75])
    np.testing.assert_allclose(shares([100, 400], [1, 1], 2), [1 / 3, 2 / 3])  # 10 : 20
    np.testing.assert_allclose(shares([100, 400], [3, 1], 2), [3 / 5, 2 / 5])  # 30 : 20
    np.testing.assert_allclose(shares([5, 10**12], [1, 1], math.inf), [0.5, 0.5])
    np.testing.assert_allclose(shares([7, 9], [0, 2]), [0, 1])


def test_sizes_far_apart_neither_overflow_nor_vanish() -> None:
    found = shares([1, 10**15], [1, 1], 0.05)  # the ratio is 10^300
    assert np.isfinite(found).all()
    assert found[1] == 1


@pytest.mark.parametrize(
    ("weights", "temperature", "said"),
    [
        ([1, -1], 1, "0 or more"),
        ([1, math.nan], 1, "0 or more"),
        ([1], 1, "2 numbers"),
        ([0, 0], 1, "above 0 at all times"),
        ([1, 1], 0, "temperature is 0"),
        ([1, 1], math.nan, "temperature is nan"),
    ],
)
def test_what_gives_no_shares_is_refused(weights: list[float], temperature: float, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        shares([10, 20], weights, temperature)


def test_weights_run_in_straight_lines_and_may_jump() -> None:
    stages = [Stage(0.2, (1, 0)), Stage(0.4, (0, 1)), Stage(0.6, (0, 1)), Stage(0.6, (2, 2))]
    moments = np.array([0.0, 0.2, 0.25, 0.4, 0.5, 0.59, 0.6, 1.0])
    wanted = [(1, 0), (1, 0), (0.75, 0.25), (0, 1), (0, 1), (0, 1), (2, 2), (2, 2)]
    np.testing.assert_allclose(weights_at(moments, stages), wanted)


@pytest.mark.parametrize("stages", [[], [Stage(0.5, (1,)), Stage(0.4, (1,))], [Stage(1.5, (1,))]])
def test_stages_out_of_order_are_refused(stages: list[Stage]) -> None:
    with pytest.raises(ConfigError, match="must ascend within 0"):
        weights_at(np.zeros(1), stages)


def test_attention_turns_to_what_fails_and_rehearses_what_is_mastered() -> None:
    before = Attention(power=1, least=0.1, keep=0)
    assert before.factors(3) == (1, 1, 1)
    after = before.told([1.0, 0.5, None])
    assert before.success == ()
    np.testing.assert_allclose(after.factors(3), np.array([0.1, 0.5, 1.0]) / (1.6 / 3))
    np.testing.assert_allclose(Attention(power=0).told([0.0, 1.0]).factors(2), [1, 1])


def test_attention_is_smoothed_and_keeps_what_is_not_measured_again() -> None:
    state = Attention(keep=0.75).told([0.0, 0.4]).told([1.0, None])
    assert state.success == (0.25, 0.4)
    with pytest.raises(ConfigError, match="within 0"):
        state.told([1.2, 0.0])
    with pytest.raises(ConfigError, match="2 numbers"):
        state.told([1.0])


def test_task_weights_give_every_task_the_same_say() -> None:
    drawn = {"lift": 0.75, "push": 0.25}
    assert task_weights(drawn, 1) == {"lift": pytest.approx(2 / 3), "push": pytest.approx(2)}
    assert task_weights(drawn, 0) == {"lift": 1, "push": 1}
    half = task_weights({"lift": 3, "push": 1, "absent": 0}, 0.5)
    assert 0.75 * half["lift"] + 0.25 * half["push"] == pytest.approx(1)
    assert half["push"] / half["lift"] == pytest.approx(math.sqrt(3))
    assert half["absent"] == 1
    with pytest.raises(ConfigError, match="task power is 2"):
        task_weights(drawn, 2)
