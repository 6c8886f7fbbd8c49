"""Which columns of a data set are state and action, where its owner says so in a columns.json.

Formats that hold many named columns read the usual ones by themselves. Another choice stands in ``columns.json`` beside
``spec.json`` (``NAME.columns.json`` beside a single file)::

    {"state": ["obs/robot0_eef_pos", "obs/robot0_gripper_qpos[0:1]"], "upside_down": ["agentview_rgb"]}

A name may end in ``[first:end]``, which takes some of a column's values. Several columns become one, in this order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core import config
from sinew.core.errors import ConfigError, DataError
from sinew.core.types import SensorSpec
from sinew.data.formats.pictures import Picture

PART = re.compile(r"(.+?)(?:\[(\d+):(\d+)\])?")


@dataclass(frozen=True)
class Columns:
    """The content of a columns.json; None takes what the format does by default.

    Attributes:
        state: columns of the state.
        action: columns of the action.
        instruction: column with the sentence.
        success: column that says whether the episode succeeded.
        upside_down: cameras whose rows were stored from the bottom to the top.
        bgr: cameras whose channels were stored in the order blue, green, red.
        drop_last: the last step of each episode has an observation only, as RLDS is defined and many do not follow;
            it is left out and its state becomes the final one.
    """

    state: tuple[str, ...] | None = None
    action: tuple[str, ...] | None = None
    instruction: str | None = None
    success: str | None = None
    upside_down: tuple[str, ...] = ()
    bgr: tuple[str, ...] = ()
    drop_last: bool = False

    def upright(self, camera: str, picture: Picture) -> Picture:
        """Return a picture of a camera with its rows and channels in order."""
        picture = picture[::-1] if camera in self.upside_down else picture
        return np.ascontiguousarray(picture[..., ::-1] if camera in self.bgr else picture)


@dataclass(frozen=True)
class Part:
    """A column, or the values ``first`` to ``end`` of it, as one part of state or action."""

    column: str
    first: int = 0
    end: int | None = None


def columns_file(spec_file: Path) -> Path:
    """Return where the columns.json of a data set lies: beside its spec.json, named alike."""
    return spec_file.with_name(spec_file.name.removesuffix("spec.json") + "columns.json")


def read_columns(spec_file: Path) -> Columns:
    """Read the columns.json beside a spec.json; without one everything is the format's default.

    Raises:
        DataError: it is not JSON, or holds unknown or wrong fields.
    """
    path = columns_file(spec_file)
    if not path.exists():
        return Columns()
    try:
        return config.load(Columns, path)
    except ConfigError as error:
        raise DataError(str(error)) from error


def parts_of(names: Sequence[str], known: Mapping[str, int], where: str) -> tuple[Part, ...]:
    """Return what the names of a state or an action mean.

    Args:
        names: columns, each with or without a range of its values.
        known: values a frame by column.
        where: file and field, for messages.

    Raises:
        DataError: there is no such column, or it has fewer values.
    """
    parts: list[Part] = []
    for name in names:
        match = PART.fullmatch(name)
        column = match[1] if match else name
        first, end = (int(match[2]), int(match[3])) if match and match[2] else (0, known.get(column, 0))
        if column not in known:
            raise DataError(f"{where}: no column {column}; there are {', '.join(known) or 'none'}. Correct the name.")
        if not 0 <= first < end <= known[column]:
            raise DataError(f"{where}: {name} takes values {first} to {end} of {known[column]}. Correct the range.")
        parts.append(Part(column, first, end))
    return tuple(parts)


def names_of_parts(parts: Sequence[Part], known: Mapping[str, int]) -> tuple[str, ...] | None:
    """Return a name for each value of several columns; None for a single one, whose values its owner must name."""
    if len(parts) < 2:
        return None
    short = [part.column.rpartition("/")[2] for part in parts]
    names = short if len(set(short)) == len(short) else [part.column for part in parts]
    return tuple(
        name if known[part.column] == 1 else f"{name}.{value}"
        for name, part in zip(names, parts, strict=True)
        for value in range(part.first, part.end or known[part.column])
    )


def size_of_parts(parts: Sequence[Part]) -> int:
    """Return how many values a frame the parts have together."""
    return sum((part.end or 0) - part.first for part in parts)


def gather(
    parts: Sequence[Part], read: Callable[[str], NDArray[np.float32]], where: str = "data"
) -> NDArray[np.float32]:
    """Return the columns side by side, (T, n) float32.

    Args:
        parts: the columns.
        read: returns a whole column, (T, values).
        where: file and episode, for messages.

    Raises:
        DataError: there are none.
    """
    if not parts:
        raise DataError(
            f"{where}: no column holds a state, the spec names some. Name it in columns.json, or none there."
        )
    return np.concatenate([read(part.column)[:, part.first : part.end] for part in parts], axis=1)


def as_reading(values: NDArray[Any], sensor: SensorSpec, where: str) -> NDArray[Any]:
    """Return a column as the readings of a sensor, (T, *shape) of its type; values are never rounded.

    Raises:
        DataError: other shape, or a type that does not fit into the sensor's.
    """
    wanted = (len(values), *sensor.shape)
    if values.shape == (*wanted, 1):
        values = values[..., 0]
    if values.shape != wanted:
        raise DataError(
            f"{where}: a reading has shape {values.shape[1:]}, the spec says {tuple(sensor.shape)}. Correct the spec."
        )
    kind = np.dtype(sensor.dtype)
    given = values.dtype.kind
    if given not in "fiub" or (given == "f" and kind.kind != "f"):
        raise DataError(f"{where}: is {values.dtype}, the spec says {kind}. Correct the spec.")
    with np.errstate(all="ignore"):
        found = np.ascontiguousarray(values, dtype=kind)
    if given != "f" and bool((found != values).any()):
        raise DataError(f"{where}: is {values.dtype}, the spec says {kind}, which cannot hold it. Correct the spec.")
    return found
