"""Refuses to let two sides talk about different robots."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

from sinew.core.errors import SpecError
from sinew.core.types import RobotSpec


def check_spec(
    policy: RobotSpec,
    world: RobotSpec,
    *,
    sides: tuple[str, str] = ("policy", "world"),
    advice: str = "Choose a checkpoint trained for this robot, or the settings it was trained with.",
) -> None:
    """Raise when a policy was made for another robot than the one at hand.

    Numbers may differ by rounding (1e-6 relative), and what the policy's side does not know (None, such as the pose
    of a camera) may be anything; all else must be the same.

    Args:
        policy: what the policy was trained for.
        world: what it is to steer.
        sides: what to call the two in the message.
        advice: what to do, the last line of the message.

    Raises:
        SpecError: they differ; every difference is shown with both sides.
    """
    found = [item for item in differences(policy, world) if item[1] != str(None)]
    if found:
        width = max(len(side) for side in sides)
        lines = [
            f"  {name}\n    {sides[0]:<{width}}  {ours}\n    {sides[1]:<{width}}  {theirs}"
            for name, ours, theirs in found
        ]
        raise SpecError(
            "\n".join(
                [
                    f"{sides[0]} and {sides[1]} are not the same robot; they differ in:",
                    *lines,
                    advice,
                ]
            )
        )


def differences(first: object, second: object, name: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield (field, first, second) for every leaf that differs; the name of the whole stands before its fields."""
    if dataclasses.is_dataclass(first) and type(first) is type(second):
        for item in dataclasses.fields(first):
            path = f"{name}.{item.name}" if name else item.name
            yield from differences(getattr(first, item.name), getattr(second, item.name), path)
    elif isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in sorted({*first, *second}):
            yield from differences(first.get(key, "missing"), second.get(key, "missing"), f"{name}.{key}")
    elif not _same(first, second):
        yield name, str(first), str(second)


def _same(first: object, second: object) -> bool:
    if isinstance(first, (int, float)) and isinstance(second, (int, float)):
        return math.isclose(first, second, rel_tol=1e-6, abs_tol=1e-9)
    if isinstance(first, Sequence) and isinstance(second, Sequence) and not isinstance(first, str):
        return len(first) == len(second) and all(_same(one, two) for one, two in zip(first, second, strict=True))
    return first == second
