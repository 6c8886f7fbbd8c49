"""What the probe's numbers mean together."""

from __future__ import annotations

from engine.records import changed
from sinew.engine.evidence import Evidence
from sinew.engine.signs.actions import action_jitter, blind, deaf, mode_collapse


def test_collapsed_policy_is_called_that_and_nothing_else() -> None:
    """Ratios of changes mean nothing where nothing changes."""
    rows = changed(probe__spread=lambda _: 1e-6, probe__look=lambda _: 0.0, probe__listen=lambda _: 0.0)
    found = [finding.fault for sign in (mode_collapse, action_jitter, blind, deaf) for finding in sign(Evidence(rows))]
    assert found == ["mode collapse"]


def test_newest_probe_counts() -> None:
    rows = changed(probe__listen=lambda share: 0.0 if share < 0.5 else 0.4)
    assert list(deaf(Evidence(rows))) == []
    assert len(list(deaf(Evidence(rows[:11])))) == 1
