"""From a client's map to an observation: keys, image forms, sizes, and what is refused."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import numpy as np
import pytest

from served import message
from sinew.core.errors import ConfigError, DataError, SpecError
from sinew.core.types import CameraSpec
from sinew.deploy.requests import RequestReader, letterbox, usual_keys
from sinew.deploy.wire import pack, unpack
from toy import ToyConfig

SPEC = ToyConfig(size=4).spec
READER = RequestReader(SPEC, usual_keys(SPEC, "openpi"))
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)


def read(**changes: Any) -> Any:  # noqa: ANN401
    """Return what the reader makes of a changed message."""
    return READER.read(message(**changes))


def test_a_message_becomes_one_row_of_one_tick() -> None:
    obs = read(observation__image=PIXELS, observation__state=np.array([0.25, -1.0], dtype=np.float64))
    assert np.array_equal(obs.images["front"][0, 0].transpose(1, 2, 0), PIXELS)
    assert obs.images["front"].dtype == np.uint8
    assert obs.state.tolist() == [[[0.25, -1.0]]]
    assert obs.state.dtype == np.float32
    assert obs.instruction == ("go left",)


def test_nothing_read_shares_memory_with_the_message() -> None:
    pixels = PIXELS.transpose(2, 0, 1).copy()
    obs = read(observation__image=pixels)
    assert not np.shares_memory(obs.images["front"], pixels)
    assert obs.images["front"].flags.writeable
    assert obs.state.flags.writeable


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_float_image_is_scaled_and_cut_as_openpi_does(dtype: type[np.floating[Any]]) -> None:
    image = np.linspace(0, 1, 48, dtype=dtype).reshape(4, 4, 3)
    assert np.array_equal(
        read(observation__image=image).images["front"][0, 0].transpose(1, 2, 0), (255 * image).astype(np.uint8)
    )


def test_channels_may_come_first() -> None:
    assert np.array_equal(
        read(observation__image=PIXELS.transpose(2, 0, 1)).images["front"][0, 0], PIXELS.transpose(2, 0, 1)
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"observation__image": np.zeros((4, 4), np.uint8)}, r"shape \(4, 4\)"),
        ({"observation__image": np.zeros((4, 4, 4), np.uint8)}, r"shape \(4, 4, 4\)"),
        ({"observation__image": [[0]]}, "a list came"),
        ({"observation__image": np.zeros((4, 4, 3), np.int64)}, "dtype int64"),
        ({"observation__image": np.full((4, 4, 3), 200.0)}, r"outside 0\.\.1"),
        ({"observation__image": np.full((4, 4, 3), np.nan)}, "NaN"),
        ({"observation__state": np.array([np.nan, 0.0])}, "NaN or infinity in position"),
        ({"observation__state": np.array([0.0, 1e300])}, "NaN or infinity in last_move"),
        ({"observation__state": ["a", "b"]}, "not a vector of numbers"),
        ({"observation__state": {"x": 1}}, "not a vector of numbers"),
        ({"observation__state": None}, "no 'observation/state|state' in the observation"),
        ({"prompt": 3}, "the instruction is a int"),
        ({"prompt": None}, "--key instruction="),
        ({"observation__image": None}, "image of camera 'front'.*It has: observation/state, prompt"),
    ],
)
def test_what_cannot_be_used_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        read(**changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"observation__image": np.zeros((8, 6, 3), np.uint8)}, "8 x 6 .*came, the policy was made for 4 x 4"),
        ({"observation__state": np.zeros(7)}, r"7 values came, the policy was made for 2 \(position, last_move\)"),
    ],
)
def test_another_size_is_refused_with_both_sides(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        read(**changes)


def test_an_image_of_another_size_is_letterboxed_when_asked() -> None:
    reader = dataclasses.replace(READER, resize=True)
    image = np.full((8, 16, 3), 90, dtype=np.uint8)
    seen = reader.read(message(observation__image=image)).images["front"][0, 0]
    assert seen.shape == (3, 4, 4)
    assert seen[0].tolist() == [[0] * 4, [90] * 4, [90] * 4, [0] * 4]


def test_an_extreme_shape_is_letterboxed_too() -> None:
    assert letterbox(np.full((1, 500, 3), 9, np.uint8), 4, 4).shape == (4, 4, 3)


def test_an_instruction_of_the_server_stands_in() -> None:
    reader = dataclasses.replace(READER, instruction="go right")
    assert reader.read(message(prompt=None)).instruction == ("go right",)
    assert reader.read(message()).instruction == ("go left",)


def test_an_instruction_may_be_an_array_of_text() -> None:
    assert read(prompt=np.array("go up")).instruction == ("go up",)


def test_keys_can_be_changed_nested_and_joined() -> None:
    keys = usual_keys(SPEC, "openpi").changed(["front=cams/wrist/rgb", "state=joints+gripper", "instruction=task"])
    content = {"cams": {"wrist": {"rgb": PIXELS}}, "joints": [0.5], "gripper": np.array(1.0), "task": "go"}
    obs = RequestReader(SPEC, keys).read(content)
    assert obs.state.tolist() == [[[0.5, 1.0]]]
    assert obs.instruction == ("go",)


@pytest.mark.parametrize("word", ["side=x", "front", "front="])
def test_a_key_for_nothing_is_refused_with_the_names_there_are(word: str) -> None:
    with pytest.raises(ConfigError, match="one of front, state, instruction"):
        usual_keys(SPEC, "openpi").changed([word])


def test_several_cameras_keep_their_names() -> None:
    two = dataclasses.replace(SPEC, cameras={"image": CameraSpec(4, 4), "wrist_image": CameraSpec(4, 4)})
    content = message(observation__wrist_image=np.zeros((4, 4, 3), np.uint8))
    obs = RequestReader(two, usual_keys(two, "openpi")).read(content)
    assert obs.images["image"].mean() == 100
    assert obs.images["wrist_image"].mean() == 0


def test_vla_eval_names_are_found() -> None:
    reader = RequestReader(SPEC, usual_keys(SPEC, "vla-eval"))
    for state in ("state", "states"):
        content = {"images": {"front": PIXELS}, state: np.array([1.0, 2.0]), "task_description": "go"}
        assert reader.read(content).state.tolist() == [[[1.0, 2.0]]]


def test_a_robot_without_proprioception_needs_no_state() -> None:
    blind = dataclasses.replace(SPEC, state=(), state_units=())
    assert RequestReader(blind, usual_keys(blind, "openpi")).read(message(observation__state=None)).state.shape == (
        1,
        1,
        0,
    )


def test_a_damaged_message_is_read_or_refused_and_nothing_else() -> None:
    rng = random.Random(0)
    whole = [pack(message(), "openpi"), pack(message(observation__image=np.full((4, 4, 3), 0.5)), "vla-eval")]
    refused = 0
    for _ in range(3000):
        data = bytearray(rng.choice(whole))
        for _ in range(rng.choice((1, 2, 8))):
            place = rng.randrange(len(data))
            data[place : place + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        try:
            READER.read(unpack(bytes(data), limit=2**20))
        except (DataError, SpecError):
            refused += 1
    assert 2000 < refused < 3000


@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        (None, DataError, "no 'prev_actions'.* send them as 3 x 2 numbers"),
        ("none yet", DataError, "are no numbers"),
        (np.zeros((2, 2), np.float32), SpecError, r"shape \(2, 2\) came; \(3, 2\) \(ticks before now, move, honk\)"),
        (np.full((3, 2), np.inf, np.float32), SpecError, "with infinity in it"),
    ],
)
def test_executed_actions_that_cannot_be_are_refused(value: object, error: type[Exception], says: str) -> None:
    reader = dataclasses.replace(READER, previous=3)
    sent = {} if value is None else {"prev_actions": value}
    with pytest.raises(error, match=says):
        reader.executed(sent)


def test_executed_actions_may_be_none_yet() -> None:
    before = np.array([[np.nan, np.nan], [0.1, 0.0], [0.2, 1.0]])
    found = dataclasses.replace(READER, previous=3).executed({"prev_actions": before})
    np.testing.assert_array_equal(found, before[None].astype(np.float32))
