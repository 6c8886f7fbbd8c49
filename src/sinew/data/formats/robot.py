"""The robot of a recorded data set: what the data say, what their owner adds, what to write where both are silent."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sinew.core.config import from_dict, to_dict
from sinew.core.errors import DataError, SpecError
from sinew.core.files import read_json
from sinew.core.types import ActionKind, CameraSpec, RobotSpec, SensorSpec

UNKNOWN = "?"
"""Stands in a template for what its reader must fill in; one that is left counts as missing."""
NO_CAMERAS = ("cameras", {})
"""The field of a partial spec that names no cameras, which means all of them."""
Reach = Callable[[], tuple[tuple[float, ...], tuple[float, ...]]]
"""Returns the smallest and largest action of a data set, (A,) each; reads all of its actions."""


@dataclass(frozen=True)
class PartialCamera:
    """A ``CameraSpec`` whose fields may be unknown."""

    height: int | None = None
    width: int | None = None
    intrinsics: tuple[float, float, float, float] | None = None
    pose: tuple[float, ...] | None = None


@dataclass(frozen=True)
class PartialSpec:
    """A ``RobotSpec`` of which any field may be unknown; the content of a spec.json.

    Attributes:
        low: ``"data"`` takes the smallest action in the data set.
        high: ``"data"`` takes the largest action in the data set.
        cameras: those that are wanted; empty means all that there are.
        sensors: those that are wanted, with units; empty means none.
    """

    embodiment: str | None = None
    cameras: Mapping[str, PartialCamera] = field(default_factory=dict)
    state: tuple[str, ...] | None = None
    state_units: tuple[str, ...] | None = None
    action: tuple[str, ...] | None = None
    action_units: tuple[str, ...] | None = None
    low: tuple[float, ...] | Literal["data"] | None = None
    high: tuple[float, ...] | Literal["data"] | None = None
    hz: float | None = None
    kind: ActionKind | None = None
    binary: tuple[str, ...] | None = None
    gripper_sign: Literal[-1, 0, 1] | None = None
    rotation: Literal["none", "quaternion", "euler", "rot6d", "axis_angle"] | None = None
    sensors: Mapping[str, SensorSpec] | None = None
    schema_version: int | None = None

    def over(self, other: PartialSpec) -> PartialSpec:
        """Return ``other`` with the fields that are known here put over it."""
        known = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return dataclasses.replace(
            other, **{name: value for name, value in known.items() if value is not None and (name, value) != NO_CAMERAS}
        )


@dataclass(frozen=True)
class Facts:
    """What a data set tells of its robot.

    Attributes:
        said: fields of the spec that are written in it.
        action_size: A.
        state_size: S; 0 when it holds no state.
        cameras: image size (height, width) [px] by camera.
    """

    action_size: int
    state_size: int
    cameras: Mapping[str, tuple[int, int]]
    said: PartialSpec = field(default_factory=PartialSpec)


def read_partial(path: Path) -> PartialSpec:
    """Read a spec.json, in which any field of a ``RobotSpec`` may stand.

    Raises:
        DataError: missing or not JSON.
        ConfigError: unknown fields or wrong values, all listed.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file. Write the spec.json there, or name the one you have with --spec.")
    try:
        content = read_json(path)
    except DataError as error:
        if not isinstance(error.__cause__, ValueError):
            raise
        raise DataError(f"{path}: not valid JSON ({error.__cause__}). Correct the file.") from error
    return partial_of(content, str(path))


def partial_of(content: Any, source: str) -> PartialSpec:  # noqa: ANN401  (any JSON value)
    """Validate what was read from a spec.json; fields in which a template's "?" is left count as missing.

    Raises:
        ConfigError: unknown fields or wrong values, all listed.
    """
    if isinstance(content, dict):
        content = {name: value for name, value in content.items() if not _holds_unknown(value)}
    return from_dict(PartialSpec, content, source, what="spec.json")


def partial_from(spec: RobotSpec) -> PartialSpec:
    """Return a whole spec as a partial one that knows everything."""
    return from_dict(PartialSpec, to_dict(spec), "spec")


def resolve(
    source: str,
    facts: Facts,
    given: PartialSpec,
    *,
    place: Path,
    reach: Reach,
    image_size: tuple[int, int] | None = None,
) -> RobotSpec:
    """Return the robot of a data set, nothing in it guessed.

    Args:
        source: the data set, for messages.
        facts: what the data say.
        given: what their owner adds.
        place: where a spec.json is looked for.
        reach: asked for the range of actions where bounds are missing or taken from the data.
        image_size: (height, width) that images are scaled to, or None.

    Raises:
        DataError: something is said nowhere; one message lists it all and shows the file to write.
        SpecError: the owner contradicts the data, or the values do not belong together.
    """
    merged = given.over(facts.said)
    if merged.state == ():
        merged = dataclasses.replace(merged, state_units=given.state_units or ())
    missing = list(_missing(merged, facts))
    if missing:
        raise DataError(_ask(source, merged, facts, missing, place, reach))
    if facts.said.hz is not None and not math.isclose(facts.said.hz, merged.hz or 0.0, rel_tol=1e-6):
        raise SpecError(f"{source}: the data say {facts.said.hz:g} Hz, {place} says {merged.hz:g}. Correct the file.")
    low, high = merged.low, merged.high
    if "data" in (low, high):
        smallest, largest = reach()
        low, high = (smallest if low == "data" else low), (largest if high == "data" else high)
    whole = to_dict(merged) | {"low": low, "high": high, "cameras": {}}
    spec = from_dict(RobotSpec, {name: value for name, value in whole.items() if value is not None}, str(place))
    spec = dataclasses.replace(spec, cameras=_cameras(source, facts, merged, image_size))
    problems = list(_contradictions(spec, facts))
    if problems:
        raise SpecError("\n".join([f"{source}: {place} does not fit the data:", *(f"  {line}" for line in problems)]))
    return spec


def match_cameras(source: str, wanted: Sequence[str], found: Sequence[str]) -> dict[str, str]:
    """Return which camera of the data is meant by each wanted name; a single one may be renamed.

    Raises:
        SpecError: a wanted camera is not in the data.
    """
    if len(wanted) == len(found) == 1:
        return {wanted[0]: found[0]}
    absent = [name for name in wanted if name not in found]
    if absent:
        raise SpecError(f"{source}: no camera {', '.join(absent)}; the data hold {', '.join(found) or 'none'}.")
    return {name: name for name in wanted}


def _holds_unknown(value: Any) -> bool:  # noqa: ANN401  (any JSON value)
    return value == UNKNOWN or (isinstance(value, list) and UNKNOWN in value)


def _missing(merged: PartialSpec, facts: Facts) -> Iterator[tuple[str, str]]:
    """Yield (field, what it is) for all that nobody said."""
    no_state = "" if facts.state_size else "; the data hold none: [] trains without"
    words = {
        "embodiment": "a name for the robot",
        "hz": "control rate [1/s]",
        "kind": "what an action is: absolute, delta, relative or waypoint",
        "state": f"names of the {facts.state_size} state values{no_state}",
        "state_units": "their units",
        "action": f"names of the {facts.action_size} action values",
        "action_units": "their units",
        "low": "lower bounds of the action",
        "high": "upper bounds of the action",
    }
    for name, meaning in words.items():
        if getattr(merged, name) is None:
            yield name, meaning


def _ask(
    source: str, merged: PartialSpec, facts: Facts, missing: Sequence[tuple[str, str]], place: Path, reach: Reach
) -> str:
    width = max(len(name) for name, _ in missing)
    lines = [f"{source}: it is not said anywhere, and will not be guessed:"]
    lines += [f"  {name:<{width}}  {meaning}" for name, meaning in missing]
    lines += [f"Write {place}, every {UNKNOWN} filled in:", template(merged, facts)]
    if {"low", "high"} & {name for name, _ in missing}:
        smallest, largest = reach()
        lines += [
            f"The actions recorded run from {_numbers(smallest)} to {_numbers(largest)}; "
            '"low": "data" and "high": "data" take these as bounds.'
        ]
    return "\n".join(lines)


def template(known: PartialSpec, facts: Facts) -> str:
    """Return a spec.json to fill in: what is known, and a "?" for what is not."""
    state, action = [UNKNOWN] * facts.state_size, [UNKNOWN] * facts.action_size
    blank: dict[str, Any] = {
        "embodiment": UNKNOWN,
        "hz": UNKNOWN,
        "kind": UNKNOWN,
        "state": state,
        "state_units": state,
        "action": action,
        "action_units": action,
        "low": action,
        "high": action,
        "binary": [],
        "gripper_sign": 0,
        "rotation": "none",
    }
    said = {name: value for name, value in to_dict(known).items() if value is not None and name in blank}
    rows = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in (blank | said).items()]
    return "{\n" + ",\n".join(rows) + "\n}"


def _numbers(values: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in values) + "]"


def _cameras(
    source: str, facts: Facts, merged: PartialSpec, image_size: tuple[int, int] | None
) -> dict[str, CameraSpec]:
    given = merged.cameras or {name: PartialCamera() for name in facts.cameras}
    names = match_cameras(source, list(given), list(facts.cameras))
    return {name: _camera(name, given[name], facts.cameras[names[name]], image_size) for name in given}


def _camera(name: str, given: PartialCamera, size: tuple[int, int], image_size: tuple[int, int] | None) -> CameraSpec:
    """Return a camera as it is after scaling; intrinsics given for the recorded size are scaled with the image."""
    said = (given.height or size[0], given.width or size[1])
    if said not in (size, image_size):
        raise SpecError(
            f"camera {name}: images are {size[0]} x {size[1]}, the spec says {said[0]} x {said[1]}. "
            "Leave height and width out; to scale images there is image_size."
        )
    height, width = image_size or size
    focal = given.intrinsics
    if focal is not None:
        down, across = height / said[0], width / said[1]
        focal = (focal[0] * across, focal[1] * down, focal[2] * across, focal[3] * down)
    return CameraSpec(height, width, intrinsics=focal, pose=given.pose)


def _contradictions(spec: RobotSpec, facts: Facts) -> Iterator[str]:
    for name, size in (("state", facts.state_size), ("action", facts.action_size)):
        names: tuple[str, ...] = getattr(spec, name)
        units: tuple[str, ...] = getattr(spec, f"{name}_units")
        if len(names) != size and not (name == "state" and not names):
            yield f"{name}: {len(names)} names for {size} values ({', '.join(names)})."
        if len(units) != len(names):
            yield f"{name}_units: {len(units)} units for {len(names)} names."
        if not all(text.strip() for text in (*names, *units)):
            yield f"{name}, {name}_units: one is empty; write a word for each, and 1 for a number without a unit."
        if len(set(names)) != len(names):
            yield f"{name}: a name stands twice ({', '.join(names)})."
    if not len(spec.low) == len(spec.high) == len(spec.action):
        yield f"low, high: {len(spec.low)} and {len(spec.high)} bounds for {len(spec.action)} actions."
    elif not all(one < two for one, two in zip(spec.low, spec.high, strict=True)):
        yield f"low, high: each lower bound must lie below its upper one ({_numbers(spec.low)}, {_numbers(spec.high)})."
    if not (math.isfinite(spec.hz) and spec.hz > 0):
        yield f"hz: {spec.hz}, a positive rate is needed."
    if set(spec.binary) - set(spec.action):
        yield f"binary: {', '.join(sorted(set(spec.binary) - set(spec.action)))} is no action."
