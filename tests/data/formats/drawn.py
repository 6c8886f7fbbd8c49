"""Data sets that Hypothesis draws: any robot, any numbers that an episode may hold, any sentence."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sinew.core.types import CameraSpec, RobotSpec, SensorSpec
from sinew.data.episode import Episode

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
WORDS = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=12).map(str.strip)
KINDS: tuple[Literal["float32", "uint8", "int16", "uint16"], ...] = ("float32", "uint8", "int16", "uint16")
SIDES = (16, 18)
"""Of images [px]; even, as films need."""


@st.composite
def robots(draw: st.DrawFn, *, cameras: bool) -> RobotSpec:
    """Draw a robot, with or without eyes."""
    state, action = draw(st.integers(0, 3)), draw(st.integers(1, 3))
    sides = st.sampled_from(SIDES)
    shapes = st.lists(st.integers(1, 3), max_size=3).map(tuple)
    sensors = st.builds(SensorSpec, shapes, st.just("m"), st.just(5.0), st.sampled_from(KINDS))
    eyes = st.dictionaries(st.sampled_from(["front", "wrist"]), st.builds(CameraSpec, sides, sides))
    return RobotSpec(
        embodiment=draw(st.sampled_from(["arm", "été"])),
        cameras=draw(eyes) if cameras else {},
        state=tuple(f"s{number}" for number in range(state)),
        state_units=("m",) * state,
        action=tuple(f"a{number}" for number in range(action)),
        action_units=("m",) * action,
        low=(-1.0,) * action,
        high=(2.0,) * action,
        hz=draw(st.sampled_from([10.0, 12.5, 29.97])),
        kind="delta",
        sensors=draw(st.dictionaries(st.sampled_from(["depth", "force"]), sensors)),
    )


@st.composite
def data_sets(draw: st.DrawFn, *, cameras: bool = True) -> list[Episode]:
    """Draw one to three episodes of one robot; all have rewards or none has."""
    spec, rewards = draw(robots(cameras=cameras)), draw(st.booleans())
    return [draw(episodes(spec, number, rewards=rewards)) for number in range(draw(st.integers(1, 3)))]


@st.composite
def episodes(draw: st.DrawFn, spec: RobotSpec, number: int, *, rewards: bool) -> Episode:
    """Draw an episode of one to four frames."""
    frames = draw(st.integers(1, 4))
    seed = draw(st.integers(0, 9))
    action = draw(arrays(np.float32, (frames, spec.action_size), elements=st.floats(-1, 2, width=32)))
    final = arrays(np.float32, (spec.state_size,), elements=FINITE)
    sentence = draw(WORDS)
    return Episode(
        spec=spec,
        images={
            name: np.random.default_rng(seed).integers(0, 256, (frames, 3, camera.height, camera.width), np.uint8)
            for name, camera in spec.cameras.items()
        },
        state=draw(arrays(np.float32, (frames, spec.state_size), elements=FINITE)),
        action=action,
        executed=action,
        instruction=sentence,
        task=draw(WORDS.filter(bool)),
        success=draw(st.booleans()),
        id=str(number),
        sensors={name: draw(readings(frames, sensor)) for name, sensor in spec.sensors.items()},
        reward=draw(arrays(np.float32, (frames,), elements=FINITE)) if rewards else None,
        terminated=draw(st.booleans()),
        final_state=draw(st.none() | final) if spec.state else None,
    )


def readings(frames: int, sensor: SensorSpec) -> st.SearchStrategy[Any]:
    """Return what a sensor may read; NaN where a float has no reading."""
    elements = st.floats(width=32) if sensor.dtype == "float32" else None
    return arrays(np.dtype(sensor.dtype), (frames, *sensor.shape), elements=elements)


def differences(one: Episode, two: Episode, *, exact: bool) -> list[str]:
    """Return the fields in which two episodes differ; images of films are compared by shape only."""
    names = ("instruction", "task", "success", "terminated")
    found = [name for name in names if getattr(one, name) != getattr(two, name)]
    for name in ("state", "action", "executed", "reward", "final_state"):
        found += [name] * (not _same(getattr(one, name), getattr(two, name)))
    found += [name for name in one.sensors if not _same(one.sensors[name], two.sensors.get(name))]
    for name, images in one.images.items():
        back = two.images.get(name)
        found += [name] * (not _same(images, back) if exact else back is None or back.shape != images.shape)
    return found


def _same(one: Any, two: Any) -> bool:  # noqa: ANN401
    if one is None or two is None:
        return one is two
    return one.dtype == two.dtype and one.shape == two.shape and one.tobytes() == two.tobytes()
