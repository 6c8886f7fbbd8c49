from __future__ import annotations

import pytest

from sinew.data.quality.findings import Finding
from sinew.data.quality.score import quality


def test_a_clean_success_has_quality_one_and_a_failure_half_of_it() -> None:
    assert quality([], 40) == 1.0
    assert quality([], 40, success=False) == 0.5


@pytest.mark.parametrize("kind", ["nan", "duplicate"])
def test_errors_and_copies_have_quality_zero(kind: str) -> None:
    assert quality([Finding(kind, "warning" if kind == "duplicate" else "error", "")], 40) == 0.0


def test_useless_frames_count_once_and_other_warnings_halve() -> None:
    idle = Finding("idle", "warning", "", frames=(0, 9))
    camera = Finding("camera", "warning", "", frames=(5, 14))
    jump = Finding("jump", "warning", "", frames=(20, 20), point=True)
    assert quality([idle], 40) == pytest.approx(0.75)
    assert quality([idle, camera], 40) == pytest.approx(1 - 15 / 40)
    assert quality([idle, camera, jump, jump], 40) == pytest.approx((1 - 15 / 40) / 4)
    assert quality([Finding("short", "note", "")], 40) == 1.0
