"""Which limits a shield gets when a run is measured behind it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sinew.core.config import to_dict
from sinew.core.errors import ConfigError, SpecError
from sinew.core.files import write_json
from sinew.run.measuring import shield_limits
from sinew.safety.limits import ShieldLimits, limits_from_spec
from toy import ToyConfig

SPEC = ToyConfig().spec
LIMITS = ShieldLimits(("move",), ("m",), (0.1,), (5.0,))


def test_limits_come_from_a_file_from_the_spec_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    write_json(path, to_dict(LIMITS))
    assert shield_limits(None, SPEC) is None
    assert shield_limits("auto", SPEC) == limits_from_spec(SPEC)
    assert shield_limits("0.1", SPEC) == limits_from_spec(SPEC, ramp_s=0.1)
    with pytest.raises(ConfigError, match="--ramp 0: seconds from rest to full speed, above 0"):
        shield_limits("0", SPEC)
    assert shield_limits(str(path), SPEC) == LIMITS


def test_limits_that_do_not_fit_are_refused_before_anything_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    write_json(path, to_dict(dataclasses.replace(LIMITS, units=("cm",))))
    with pytest.raises(ConfigError, match="limited in cm, the robot takes m"):
        shield_limits(str(path), SPEC)
    with pytest.raises(SpecError, match="cannot be shielded"):
        shield_limits(str(path), dataclasses.replace(SPEC, kind="waypoint"))
