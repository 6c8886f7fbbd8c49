"""Every sign finds its fault in a made-up record and is silent on a healthy one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine.records import changed, healthy
from sinew.engine.diagnose import SIGNS, Diagnosis, diagnose
from sinew.engine.evidence import Evidence

Rows = list[dict[str, Any]]


def noise(share: float) -> float:
    return float(np.random.default_rng(round(1000 * share)).normal())


FAULTY: dict[str, Callable[[], Rows]] = {
    "vanishing gradients": lambda: changed(grad_rms__vision=lambda _: 1e-9),
    "exploding gradients": lambda: changed(grad_norm=lambda share: 0.5 if share < 0.9 else 80.0),
    "overfitting": lambda: changed(error__held_out=lambda share: 0.1 if share < 0.6 else 0.14),
    "oscillation": lambda: changed(loss=lambda share: 1.0 + 0.6 * noise(share)),
    "stagnation": lambda: changed(
        loss=lambda share: 0.7 + 0.004 * noise(share), lr=lambda _: 1e-3, score=lambda _: 0.1
    ),
    "mode collapse": lambda: changed(probe__spread=lambda _: 0.02),
    "action jitter": lambda: changed(probe__jitter=lambda _: 7.0),
    "does not look": lambda: changed(probe__look=lambda _: 0.001),
    "does not listen": lambda: changed(probe__listen=lambda _: 0.001),
    "catastrophic forgetting": lambda: changed(score__pour=lambda share: 0.9 if share < 0.6 else 0.1),
    "task imbalance": lambda: changed(share__pour=lambda _: 0.03, task_error__pour=lambda _: 0.2),
    "input-bound": lambda: changed(data_share=lambda _: 0.6),
}


def found(rows: Rows) -> list[str]:
    return [name for name, sign in SIGNS.items() if list(sign(Evidence(rows)))]


@pytest.mark.parametrize("name", SIGNS)
def test_sign_finds_its_fault_and_no_other_sign_speaks(name: str) -> None:
    assert found(FAULTY[name]()) == [name]


@pytest.mark.parametrize("name", SIGNS)
def test_finding_gives_numbers_a_cause_and_a_remedy(name: str) -> None:
    (finding,) = diagnose(FAULTY[name]())
    assert any(letter.isdigit() for letter in finding.evidence)
    assert all(len(text) > 20 for text in (finding.evidence, finding.cause, finding.remedy))
    assert finding.update == 2000


def test_healthy_run_is_silent_at_every_moment() -> None:
    rows = healthy()
    assert [diagnose(rows[:count]) for count in range(len(rows) + 1)] == [()] * (len(rows) + 1)


def test_each_fault_is_told_once() -> None:
    diagnosis = Diagnosis(2000)
    told = [finding for row in FAULTY["mode collapse"]() for finding in diagnosis.take(row)]
    assert [finding.fault for finding in told] == ["mode collapse"]
    assert told[0].update == 500


def test_resumed_run_does_not_tell_again_what_it_told() -> None:
    rows = FAULTY["mode collapse"]()
    first = Diagnosis(2000)
    written: Rows = []
    for row in rows[:20]:
        written += [row, *(finding.row(row["update"]) for finding in first.take(row))]
    again = Diagnosis(2000, written)
    assert [finding for row in rows[20:] for finding in again.take(row)] == []
    assert len(written) == 21


def test_record_is_looked_through_about_fifty_times() -> None:
    diagnosis, looks = Diagnosis(100_000), 0
    for update in range(10, 100_001, 10):
        before = diagnosis._looked
        diagnosis.take({"update": update, "loss": 1.0})
        looks += diagnosis._looked != before
        diagnosis.rows.clear()
    assert looks == 50
