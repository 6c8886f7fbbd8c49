"""Columns of a record."""

from __future__ import annotations

from sinew.engine.evidence import Evidence

ROWS = [
    {"update": 10, "loss": 2.0, "grad_rms/head": 1.0},
    {"update": 20, "score": 0.5},
    {"update": 20, "finding": {"fault": "overfitting"}},
    {"update": 30, "loss": None, "grad_rms/eye": 3.0},
    {"update": 40, "loss": 1.0},
]


def test_gaps_nulls_and_words_are_left_out() -> None:
    evidence = Evidence(ROWS)
    assert evidence["loss"].values.tolist() == [2.0, 1.0]
    assert evidence["loss"].updates.tolist() == [10, 40]
    assert "finding" not in evidence
    assert "lr" not in evidence
    assert (evidence.update, Evidence([]).update) == (40, 0)


def test_families_are_told_by_their_members() -> None:
    family = Evidence(ROWS).family("grad_rms")
    assert {name: series.last for name, series in family.items()} == {"head": 1.0, "eye": 3.0}


def test_value_at_an_update_is_the_last_known_one() -> None:
    loss = Evidence(ROWS)["loss"]
    assert [loss.at(update) for update in (5, 10, 39, 40)] == [None, 2.0, 2.0, 1.0]
    assert (loss.tail(1).last, loss.before(1).last, len(loss.tail(0)), len(loss.before(9))) == (1.0, 2.0, 0, 0)
