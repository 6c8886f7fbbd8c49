"""Findings go into metrics.jsonl and come back."""

from __future__ import annotations

import json

from sinew.engine.findings import Finding, told

FINDING = Finding("overfitting", "", 50, "held-out 0.2, training 0.1", "few recordings", "record more")


def test_finding_survives_the_log() -> None:
    rows = [{"update": 50, "loss": 1.0}, json.loads(json.dumps(FINDING.row(50)))]
    assert told(rows) == (FINDING,)


def test_finding_of_another_version_can_be_read() -> None:
    (found,) = told([{"update": 3, "finding": {"fault": "a new one", "colour": "red"}}])
    assert (found.fault, found.remedy) == ("a new one", "")


def test_place_is_part_of_the_title() -> None:
    assert FINDING.lines[0] == "overfitting: held-out 0.2, training 0.1"
    assert Finding("dead input", "images", 1, "", "", "").title == "dead input, images"
