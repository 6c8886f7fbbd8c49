"""Which gradients are called vanishing or exploding, and which are not."""

from __future__ import annotations

from engine.records import changed
from sinew.engine.evidence import Evidence
from sinew.engine.signs.gradients import exploding, vanishing


def test_part_without_any_gradient_is_called_unconnected() -> None:
    (finding,) = vanishing(Evidence(changed(grad_rms__language=lambda _: 0.0)))
    assert finding.where == "language"
    assert "no loss depends on language" in finding.cause


def test_small_gradients_of_a_solved_loss_are_no_fault() -> None:
    tiny = {f"grad_rms__{part}": (lambda _: 1e-10) for part in ("vision", "language", "head")}
    assert [finding.where for finding in vanishing(Evidence(changed(**tiny)))] == ["vision", "language", "head"]
    solved = changed(**tiny, loss=lambda share: 1e-6 if share > 0.5 else 1.0)
    assert list(vanishing(Evidence(solved))) == []


def test_without_parts_the_whole_norm_is_judged() -> None:
    rows = [{"update": 10 * number, "loss": 1.0, "grad_norm": 1e-8} for number in range(1, 6)]
    (finding,) = vanishing(Evidence(rows))
    assert finding.where == ""
    assert "1e-08" in finding.evidence


def test_part_that_grew_most_is_named() -> None:
    rows = changed(
        grad_norm=lambda share: 1.0 if share < 0.9 else 50.0, grad_rms__head=lambda share: 1e-3 if share < 0.9 else 5e-2
    )
    (finding,) = exploding(Evidence(rows))
    assert finding.where == "head"


def test_large_but_steady_norm_of_a_falling_loss_is_no_fault() -> None:
    assert list(exploding(Evidence(changed(grad_norm=lambda _: 300.0)))) == []
    risen = changed(grad_norm=lambda _: 300.0, loss=lambda share: 1 + share)
    assert len(list(exploding(Evidence(risen)))) == 1


def test_skipped_updates_count_when_they_are_many() -> None:
    assert list(exploding(Evidence(changed(skipped=lambda share: 2.0 if share > 0.95 else 0.0)))) == []
    (finding,) = exploding(Evidence(changed(skipped=lambda share: round(400 * share))))
    assert "20 % of the last updates were skipped" in finding.evidence
