from __future__ import annotations

import dataclasses

import pytest

from sinew.core.errors import SpecError
from sinew.core.spec import check_spec
from sinew.core.types import CameraSpec
from toy import ToyConfig

SPEC = ToyConfig().spec


def test_the_same_robot_passes() -> None:
    check_spec(SPEC, ToyConfig().spec)


def test_rounding_passes() -> None:
    check_spec(SPEC, dataclasses.replace(SPEC, low=tuple(value * (1 + 1e-9) for value in SPEC.low)))


def test_every_difference_is_shown_with_both_sides() -> None:
    other = dataclasses.replace(
        SPEC, hz=20.0, action=("move", "wave"), cameras={"wrist": CameraSpec(8, 8), "front": CameraSpec(8, 9)}
    )
    with pytest.raises(SpecError) as raised:
        check_spec(SPEC, other, sides=("checkpoint", "robot"))
    text = str(raised.value)
    for part in ("hz", "10.0", "20.0", "cameras.front.width", "cameras.wrist", "missing", "('move', 'honk')", "wave"):
        assert part in text
    assert "checkpoint  10.0" in text
    assert "robot       20.0" in text
    assert "state" not in text


@pytest.mark.parametrize("change", [{"low": (-0.25, 0.1)}, {"binary": ()}, {"embodiment": "arm"}, {"kind": "absolute"}])
def test_a_single_difference_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(SpecError, match=next(iter(change))):
        check_spec(SPEC, dataclasses.replace(SPEC, **change))


def test_what_the_policy_does_not_know_may_be_anything() -> None:
    pose = tuple(float(number) for number in range(16))
    known = dataclasses.replace(SPEC, cameras={"front": CameraSpec(8, 8, (9.0, 9.0, 4.0, 4.0), pose)})
    check_spec(SPEC, known)
    with pytest.raises(SpecError, match=r"cameras\.front\.intrinsics"):
        check_spec(known, SPEC)
