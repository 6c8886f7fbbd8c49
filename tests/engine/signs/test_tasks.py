"""Forgetting needs others that rise, imbalance needs a rare task that is worse."""

from __future__ import annotations

from engine.records import changed
from sinew.engine.evidence import Evidence
from sinew.engine.signs.tasks import forgetting, imbalance


def test_fall_of_all_tasks_is_not_forgetting() -> None:
    falls = {f"score__{task}": (lambda share: 0.9 if share < 0.6 else 0.1) for task in ("push", "lift", "pour")}
    assert list(forgetting(Evidence(changed(**falls)))) == []


def test_fall_within_chance_is_not_forgetting() -> None:
    assert list(forgetting(Evidence(changed(score__pour=lambda share: 0.6 if share < 0.6 else 0.45)))) == []


def test_rare_task_that_is_done_well_is_no_imbalance() -> None:
    assert list(imbalance(Evidence(changed(share__pour=lambda _: 0.03)))) == []


def test_rare_task_with_a_low_score_is_named_with_both_numbers() -> None:
    (finding,) = imbalance(Evidence(changed(share__pour=lambda _: 0.03, score__pour=lambda _: 0.2)))
    assert finding.where == "pour"
    assert "4.3 % of the samples, an even share is 33.3 %" in finding.evidence
    assert "its score is 0.20, that of the common tasks 0.90" in finding.evidence
