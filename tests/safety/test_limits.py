"""Limits that are wrong are refused with one clear sentence."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from safety.arm import LIMITS, arm_spec, gripper_spec
from sinew.core.config import to_dict
from sinew.core.errors import ConfigError, DataError
from sinew.core.files import write_json
from sinew.safety.limits import RAMP_S, ShieldLimits, limits_from_spec, load_limits


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"velocity": (1.0,)}, "velocity has 1 values for 7 axes"),
        ({"high": (1.0, 2.0)}, "high has 2 values for 7 axes"),
        ({"acceleration": (2.0,) * 6 + (-1.0,)}, "acceleration of joint_6 is -1.0; give a finite number above 0"),
        ({"velocity": (math.nan,) * 7}, "velocity of joint_0 is nan"),
        ({"low": (0.5,) + (-0.5,) * 6}, "joint_0 may go from 0.5 to 0.5; low must be below high"),
        ({"axes": ()}, "name at least one action value"),
    ],
)
def test_wrong_limits_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(LIMITS, **changes)


def test_limits_come_back_from_a_file(tmp_path: Path) -> None:
    write_json(tmp_path / "limits.json", to_dict(LIMITS))
    assert load_limits(tmp_path / "limits.json") == LIMITS


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    write_json(path, {**to_dict(LIMITS), "velocity": [-1.0] * 7})
    with pytest.raises(ConfigError, match=r"limits\.json.*velocity of joint_0 is -1.0"):
        load_limits(path)
    write_json(path, {**to_dict(LIMITS), "velocty": [1.0] * 7})
    with pytest.raises(ConfigError, match="did you mean velocity"):
        load_limits(path)
    with pytest.raises(DataError, match="no such file"):
        load_limits(tmp_path / "none.json")


def test_a_spec_of_deltas_implies_limits() -> None:
    limits = limits_from_spec(gripper_spec())
    assert "grip" not in limits.axes
    assert limits.velocity == pytest.approx((4.0,) * 7)
    assert limits.acceleration == pytest.approx((4.0 / RAMP_S,) * 7)
    assert isinstance(limits, ShieldLimits)


def test_a_spec_of_set_points_implies_none() -> None:
    with pytest.raises(ConfigError, match="Write a file with its limits"):
        limits_from_spec(arm_spec("absolute"))
