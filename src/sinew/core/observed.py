"""Refuses observations that are not those of a robot, before a policy acts on them."""

from __future__ import annotations

import numpy as np

from sinew.core.errors import DataError, SpecError
from sinew.core.types import NumpyObservation, RobotSpec


def check_observation(spec: RobotSpec, obs: NumpyObservation, *, ticks: int = 1, previous: int = 0) -> None:
    """Raise when a policy made for this robot must not act on these observations.

    Args:
        spec: the robot.
        obs: B observations.
        ticks: T, of images and state.
        previous: P, executed actions that must be there; 0 asks for none.

    Raises:
        SpecError: a camera is missing, or an image, the state or the executed actions have another size or type than
            the robot's.
        DataError: the state holds NaN or infinity.
    """
    rows = obs.num_rows
    missing = [name for name in spec.cameras if name not in obs.images]
    if missing:
        raise SpecError(
            f"no image of camera {', '.join(missing)}; there is: {', '.join(obs.images) or 'none'}. "
            f"The policy sees {', '.join(spec.cameras)}."
        )
    for name, camera in spec.cameras.items():
        image = obs.images[name]
        wanted = (rows, ticks, 3, camera.height, camera.width)
        if image.shape != wanted or image.dtype != np.uint8:
            raise SpecError(
                f"camera {name}: {image.dtype} images of shape {image.shape} came, uint8 of {wanted} "
                f"(rows, ticks, RGB, height, width) was wanted. Resize them as for the recordings: "
                f"{camera.width} x {camera.height} pixels, 0 to 255."
            )
    size = (rows, ticks, spec.state_size)
    if obs.state.shape != size:
        raise SpecError(
            f"state of shape {obs.state.shape} came, {size} (rows, ticks, values) was wanted: "
            f"{', '.join(_with_units(spec))}."
        )
    if previous:
        check_previous(spec, obs, previous)
    finite = np.isfinite(obs.state).reshape(rows * ticks, spec.state_size)
    if not finite.all():
        broken = [name for number, name in enumerate(spec.state) if not finite[:, number].all()]
        raise DataError(f"state: {', '.join(broken)} is NaN or infinite. Mend the sensor; nothing acts on that.")


def check_previous(spec: RobotSpec, obs: NumpyObservation, previous: int) -> None:
    """Raise when the P actions executed before now are not there; those of before the episode are NaN.

    Raises:
        SpecError: they are missing, or of another shape.
    """
    before, wanted = obs.prev_actions, (obs.num_rows, previous, spec.action_size)
    if before is None or before.shape != wanted:
        found = "no executed actions came" if before is None else f"executed actions of shape {before.shape} came"
        raise SpecError(
            f"{found}, {wanted} (rows, ticks before now, {', '.join(spec.action)}) was wanted as prev_actions, NaN "
            "where the episode had not begun. Act through select_action, which remembers them, or pass them."
        )


def _with_units(spec: RobotSpec) -> list[str]:
    return [f"{name} [{unit}]" for name, unit in zip(spec.state, spec.state_units, strict=True)]
