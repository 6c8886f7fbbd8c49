from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from data.formats.recordings import SPEC
from sinew.core.errors import ConfigError, DataError, SpecError
from sinew.core.types import RobotSpec
from sinew.data.formats.robot import Facts, PartialSpec, partial_from, partial_of, read_partial, resolve, template

FACTS = Facts(action_size=2, state_size=2, cameras={"front": (16, 20), "wrist": (12, 12)})
PLACE = Path("demos.spec.json")


def reach() -> tuple[tuple[float, ...], tuple[float, ...]]:
    return (-0.5, 0.0), (0.25, 1.0)


def resolved(given: PartialSpec, facts: Facts = FACTS, size: tuple[int, int] | None = None) -> RobotSpec:
    return resolve("demos", facts, given, place=PLACE, reach=reach, image_size=size)


def given(**changes: Any) -> PartialSpec:  # noqa: ANN401
    return dataclasses.replace(partial_from(SPEC), **changes)


def test_a_whole_spec_says_everything() -> None:
    assert resolved(given()) == SPEC


def test_all_that_is_missing_is_named_in_one_message_that_shows_what_to_write() -> None:
    with pytest.raises(DataError) as caught:
        resolved(given(hz=None, action_units=None, low=None, kind=None))
    message = str(caught.value)
    for words in ("hz ", "kind ", "action_units ", "low ", f"Write {PLACE}", "from [-0.5, 0] to [0.25, 1]"):
        assert words in message
    assert "state_units  " not in message
    shown = json.loads(message[message.index("{") : message.index("}") + 1])
    assert shown["action"] == ["dx", "grip"]
    assert shown["action_units"] == ["?", "?"]


def test_a_template_that_is_filled_in_is_a_whole_spec() -> None:
    shown = json.loads(template(PartialSpec(), FACTS))
    assert partial_of(shown, "template") == PartialSpec(binary=(), gripper_sign=0, rotation="none")
    content = json.loads(json.dumps(dataclasses.asdict(SPEC)))
    filled = {name: content[name] for name in shown}
    assert resolved(partial_of(filled, "template")) == dataclasses.replace(
        SPEC, cameras={name: dataclasses.replace(camera, intrinsics=None) for name, camera in SPEC.cameras.items()}
    )


def test_bounds_can_be_taken_from_the_data() -> None:
    spec = resolved(given(low="data", high="data"))
    assert (spec.low, spec.high) == reach()


def test_what_the_owner_says_goes_before_what_the_data_say() -> None:
    facts = dataclasses.replace(FACTS, said=PartialSpec(action=("motor_0", "motor_1"), hz=12.5))
    assert resolved(given(), facts).action == ("dx", "grip")
    assert resolved(given(action=None, binary=()), facts).action == ("motor_0", "motor_1")
    with pytest.raises(SpecError, match=r"the data say 12\.5 Hz"):
        resolved(given(hz=10.0), facts)


def test_cameras_can_be_chosen_and_an_only_one_renamed() -> None:
    cameras = partial_from(SPEC).cameras
    assert list(resolved(given(cameras={"wrist": cameras["wrist"]})).cameras) == ["wrist"]
    with pytest.raises(SpecError, match="no camera side; the data hold front, wrist"):
        resolved(given(cameras={"side": cameras["wrist"]}))
    single = dataclasses.replace(FACTS, cameras={"camera": (12, 12)})
    assert list(resolved(given(cameras={"side": cameras["wrist"]}), single).cameras) == ["side"]


def test_intrinsics_scale_with_the_image() -> None:
    assert resolved(given(), size=(32, 10)).cameras["front"].intrinsics == (10.0, 40.0, 5.0, 16.0)


CONTRADICTIONS = {
    "names": ({"state": ("x",)}, "state: 1 names for 2 values"),
    "units": ({"action_units": ("m",)}, "action_units: 1 units for 2 names"),
    "empty": ({"state_units": ("m", " ")}, "state, state_units: one is empty"),
    "twice": ({"action": ("dx", "dx"), "binary": ()}, "action: a name stands twice"),
    "bounds": ({"low": (0.0,)}, "low, high: 1 and 2 bounds for 2 actions"),
    "order": ({"low": (1.0, 0.0)}, "must lie below"),
    "rate": ({"hz": -1.0}, "hz: -1.0, a positive rate"),
    "binary": ({"binary": ("honk",)}, "binary: honk is no action"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_values_that_do_not_belong_together_are_refused(name: str) -> None:
    changes, words = CONTRADICTIONS[name]
    with pytest.raises(SpecError) as caught:
        resolved(given(**changes))
    assert words in str(caught.value)
    assert str(PLACE) in str(caught.value)


def test_another_image_size_in_the_spec_is_refused() -> None:
    other = dataclasses.replace(partial_from(SPEC).cameras["front"], height=17)
    with pytest.raises(SpecError, match="images are 16 x 20, the spec says 17 x 20"):
        resolved(given(cameras={"front": other}))


def test_misspelt_fields_are_named_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text('{"action_unit": ["m"], "cameras": {"front": {"intrinsic": [1, 1, 1, 1]}}}')
    with pytest.raises(ConfigError) as caught:
        read_partial(tmp_path / "spec.json")
    assert "did you mean action_units?" in str(caught.value)
    assert "did you mean cameras.front.intrinsics?" in str(caught.value)
