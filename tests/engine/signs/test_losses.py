"""Courses of the loss that are a fault, and their harmless neighbours."""

from __future__ import annotations

import pytest

from engine.records import changed, healthy
from sinew.engine.evidence import Evidence
from sinew.engine.signs.losses import oscillation, overfitting, stagnation, standard_error


def test_held_out_twice_the_training_error_is_overfitting() -> None:
    (finding,) = overfitting(Evidence(changed(error__training=lambda share: 0.05 - 0.03 * share)))
    assert "times error/training" in finding.evidence


def test_score_that_falls_with_the_loss_is_overfitting() -> None:
    (finding,) = overfitting(Evidence(changed(score=lambda share: 0.6 if share < 0.6 else 0.1)))
    assert "score fell from 60 %" in finding.evidence


def test_score_that_falls_by_chance_is_not() -> None:
    assert list(overfitting(Evidence(changed(score=lambda share: 0.6 if share < 0.6 else 0.55)))) == []


def test_loss_at_the_end_of_the_schedule_may_stand_still() -> None:
    flat = {"loss": lambda share: max(1.0 - share, 0.5), "score": lambda _: 0.5}
    assert list(stagnation(Evidence(changed(**flat)))) == []
    assert len(list(stagnation(Evidence(changed(**flat, lr=lambda _: 1e-3))))) == 1


def test_rising_score_excuses_a_loss_that_stands_still() -> None:
    rows = changed(loss=lambda _: 0.5, lr=lambda _: 1e-3)
    assert list(stagnation(Evidence(rows))) == []


def test_solved_loss_is_no_stagnation() -> None:
    rows = changed(loss=lambda share: 2.0 if share < 0.1 else 0.01, lr=lambda _: 1e-3, score=lambda _: 1.0)
    assert list(stagnation(Evidence(rows))) == []


def test_return_is_judged_instead_of_the_loss() -> None:
    acting = {"lr": lambda _: 1e-3, "score": lambda _: 0.2}
    rising = changed(**acting, **{"return": lambda share: share})
    still = changed(**acting, **{"return": lambda _: 0.3})
    assert list(stagnation(Evidence(rising))) == []
    (finding,) = stagnation(Evidence(still))
    assert "the return stands at 0.3" in finding.evidence
    jumping = changed(loss=lambda share: (-1) ** round(40 * share), **{"return": lambda _: 0.3})
    assert list(oscillation(Evidence(jumping))) == []


def test_noise_around_a_falling_loss_is_no_oscillation() -> None:
    assert list(oscillation(Evidence(healthy()))) == []


def test_standard_error_by_hand() -> None:
    assert standard_error(0.75, 0.25, 50) == pytest.approx(0.1)  # sqrt(2 * 0.25 / 50)
    assert standard_error(1.0, 1.0, 50) > 0
