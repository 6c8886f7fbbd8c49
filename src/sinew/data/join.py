"""Batches of different bodies in one: padded with zeros, and masks that say what is padding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.core.types import NumpyBatch, NumpyObservation
from sinew.data.hindsight import NEXT
from sinew.data.windows import Windows

S = TypeVar("S")
Rows = Sequence[tuple[NDArray[np.int64], NumpyBatch]]
"""Batches with the rows that theirs take in the joint one."""


@dataclass(frozen=True)
class Shapes:
    """The shape that every batch of a mixture has, whatever sources its rows are of.

    Attributes:
        cameras: (h, w) by name, of all sources. sensors: shape, type and unit by name, of all sources.
        partial: cameras and sensors that some sources lack.
        history: T. previous: P. horizon: the longest H.
        state: the longest S. action: the longest A. ragged: whether the sources differ in A.
        order: for each source, the places of its cameras among all of them, where they are not all of them in order.
    """

    cameras: Mapping[str, tuple[int, int]]
    sensors: Mapping[str, tuple[tuple[int, ...], str, str]]
    partial: tuple[str, ...]
    history: int
    previous: int
    horizon: int
    state: int
    action: int
    ragged: bool
    order: Mapping[str, tuple[int, ...]]


def shapes_of(names: Sequence[str], windows: Sequence[Windows]) -> Shapes:
    """Return the shape into which batches of all these fit.

    Args:
        names: of the sources.
        windows: of the sources.

    Raises:
        DataError: histories differ, or a camera or sensor of one name has another size elsewhere.
    """
    histories = {one.history for one in windows}
    if len(histories) != 1:
        raise DataError(f"sources with histories {sorted(histories)} in one mixture; cut all windows with the same.")
    previous = {one.previous for one in windows}
    if len(previous) != 1:
        raise DataError(f"sources with {sorted(previous)} previous actions in one mixture; cut all windows alike.")
    cameras: dict[str, tuple[int, int]] = {}
    sensors: dict[str, tuple[tuple[int, ...], str, str]] = {}
    for name, one in zip(names, windows, strict=True):
        for camera, known in one.spec.cameras.items():
            _same(cameras, camera, (known.height, known.width), name, "--data.ingest.image-size H W scales all sources")
        for sensor in one.sensors:
            known = one.spec.sensors[sensor]
            _same(sensors, sensor, (tuple(known.shape), known.dtype, known.unit), name, "Rename one of the two")
    everywhere = set[str](cameras) | set(sensors)
    for one in windows:
        everywhere &= set(one.spec.cameras) | set(one.sensors)
    places = {camera: place for place, camera in enumerate(cameras)}
    order = {name: tuple(places[one] for one in each.spec.cameras) for name, each in zip(names, windows, strict=True)}
    sizes = [one.spec.action_size for one in windows]
    return Shapes(
        cameras=cameras,
        sensors=sensors,
        partial=tuple(name for name in [*cameras, *sensors] if name not in everywhere),
        history=histories.pop(),
        previous=previous.pop(),
        horizon=max(one.horizon for one in windows),
        state=max(one.spec.state_size for one in windows),
        action=max(sizes),
        ragged=len(set(sizes)) > 1,
        order={name: value for name, value in order.items() if value != tuple(range(len(cameras)))},
    )


def join(parts: Rows, shapes: Shapes, num_rows: int) -> NumpyBatch:
    """Return one batch of all rows, padded to the shapes.

    Args:
        parts: batches with the rows they take; together each row once.
        shapes: of the mixture.
        num_rows: B.
    """
    batches = [batch for _, batch in parts]
    tasks, sources, sentences = [""] * num_rows, [""] * num_rows, [""] * num_rows
    for rows, batch in parts:
        for row, task, source, sentence in zip(rows, batch.task, batch.source, batch.obs.instruction, strict=True):
            tasks[row], sources[row], sentences[row] = task, source, sentence
    ticks, steps, size = shapes.history, shapes.horizon, shapes.action
    floating = np.dtype(np.float32)

    def filled(
        shape: tuple[int, ...], kind: np.dtype[Any], pick: Callable[[NumpyBatch], NDArray[Any] | None]
    ) -> NDArray[Any]:
        return _filled(parts, (num_rows, *shape), kind, pick)

    obs = NumpyObservation(
        images={
            name: filled((ticks, 3, *sides), np.dtype(np.uint8), lambda batch, name=name: batch.obs.images.get(name))
            for name, sides in shapes.cameras.items()
        },
        state=filled((ticks, shapes.state), floating, lambda batch: batch.obs.state),
        instruction=tuple(sentences),
        sensors={
            name: filled((ticks, *shape), np.dtype(kind), lambda batch, name=name: batch.obs.sensors.get(name))
            for name, (shape, kind, _) in shapes.sensors.items()
        },
        present={
            name: filled((), np.dtype(np.bool_), lambda batch, name=name: _has(batch, name)) for name in shapes.partial
        },
        history_is_pad=filled((ticks,), np.dtype(np.bool_), lambda batch: batch.obs.history_is_pad)
        if ticks > 1
        else None,
        prev_actions=filled((shapes.previous, size), floating, lambda batch: batch.obs.prev_actions)
        if shapes.previous
        else None,
    )
    return NumpyBatch(
        obs=obs,
        actions=filled((steps, size), floating, lambda batch: batch.actions),
        is_pad=~filled((steps,), np.dtype(np.bool_), lambda batch: ~batch.is_pad),
        weight=filled((), floating, lambda batch: batch.weight),
        targets=_targets(parts, shapes, num_rows),
        action_mask=filled((size,), np.dtype(np.bool_), _actions_of) if shapes.ragged else None,
        task=tuple(tasks),
        source=tuple(sources),
        ids=filled((), np.dtype(np.int64), lambda batch: batch.ids)
        if all(one.ids is not None for one in batches)
        else None,
    )


def _filled(
    parts: Rows, shape: tuple[int, ...], kind: np.dtype[Any], pick: Callable[[NumpyBatch], NDArray[Any] | None]
) -> NDArray[Any]:
    """Return an array of this shape with each batch's in the corner at 0 of its rows, and zeros elsewhere."""
    first = pick(parts[0][1]) if len(parts) == 1 else None
    if first is not None and first.shape == shape:  # one source, nothing to pad: its rows are 0 .. B - 1
        return first
    whole = np.zeros(shape, dtype=kind)
    for rows, batch in parts:
        array = pick(batch)
        if array is not None:
            whole[(rows, *(slice(length) for length in array.shape[1:]))] = array
    return whole


def _targets(parts: Rows, shapes: Shapes, num_rows: int) -> dict[str, NDArray[np.float32]]:
    """Return the targets of all batches, NaN where one has none; places in images in the order of all cameras."""
    found: dict[str, NDArray[np.float32]] = {}
    for rows, batch in parts:
        for name, values in batch.targets.items():
            order = shapes.order.get(batch.source[0]) if name.startswith("image.") else None
            size = 2 * len(shapes.cameras) if name.startswith("image.") else values.shape[1]
            size = shapes.state if name == NEXT else size  # a state, so padded as states are
            whole = found.setdefault(name, np.full((num_rows, size), np.nan, dtype=np.float32))
            if whole.shape[1] != size:
                raise DataError(
                    f"target {name} has {size} values in {batch.source[0]}, elsewhere {whole.shape[1]}. Rename one."
                )
            columns = (
                np.arange(values.shape[1])
                if order is None
                else np.ravel([(2 * place, 2 * place + 1) for place in order])
            )
            whole[rows[:, None], columns] = values
    return found


def _actions_of(batch: NumpyBatch) -> NDArray[np.bool_]:
    return np.ones((batch.num_rows, batch.actions.shape[2]), dtype=np.bool_)


def _has(batch: NumpyBatch, name: str) -> NDArray[np.bool_] | None:
    """Return which rows have a camera or sensor, None where none has."""
    if name not in batch.obs.images and name not in batch.obs.sensors:
        return None
    return batch.obs.present.get(name, np.ones(batch.num_rows, dtype=np.bool_))


def _same(known: dict[str, S], name: str, size: S, source: str, advice: str) -> None:
    """Note a size down, or refuse another one under the same name."""
    if known.setdefault(name, size) != size:
        raise DataError(f"{source}: {name} is {size}, in another source of the mixture {known[name]}. {advice}.")
