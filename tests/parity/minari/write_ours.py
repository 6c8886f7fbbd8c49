"""Writes episodes with sinew as Minari data sets, and what they hold as NumPy arrays."""

import dataclasses
import sys
from pathlib import Path

import numpy as np

from sinew.core.types import CameraSpec, RobotSpec, SensorSpec
from sinew.data.episode import Episode
from sinew.data.formats import WRITERS

WHOLE = RobotSpec(
    embodiment="toy",
    cameras={"front": CameraSpec(40, 48), "wrist": CameraSpec(12, 12)},
    state=("x", "y", "grip"),
    state_units=("m", "m", "1"),
    action=("dx", "dy"),
    action_units=("m", "m"),
    low=(-1.0, -1.0),
    high=(1.0, 1.0),
    hz=30.0,
    kind="delta",
    sensors={"depth": SensorSpec((4, 5), "mm", 30.0, dtype="uint16"), "force": SensorSpec((6,), "N", 30.0)},
)


def episode(number, spec):
    rng = np.random.default_rng(number)
    frames = 5 + number
    action = rng.uniform(-1, 1, (frames, 2)).astype(np.float32)
    sizes = {name: (frames, 3, camera.height, camera.width) for name, camera in spec.cameras.items()}
    return Episode(
        spec=spec,
        images={name: rng.integers(0, 256, size, np.uint8) for name, size in sizes.items()},
        state=rng.normal(size=(frames, 3)).astype(np.float32),
        action=action,
        executed=action,
        instruction='say "été"',
        task="say",
        success=number != 2,
        id=f"episode {number}",
        sensors={
            name: rng.integers(0, 60000, (frames, *sensor.shape)).astype(sensor.dtype)
            for name, sensor in spec.sensors.items()
        },
        reward=rng.normal(size=frames).astype(np.float32),
        terminated=number == 1,
        final_state=rng.normal(size=3).astype(np.float32),
    )


def main(out):
    bare = dataclasses.replace(WHOLE, cameras={}, sensors={})
    for name, spec in {"whole": WHOLE, "state": bare}.items():
        episodes = [episode(number, spec) for number in range(3)]
        WRITERS["minari"].write(out / name, episodes, storage="image")
        for number, item in enumerate(episodes):
            np.savez(
                out / f"{name}_{number}.npz",
                state=np.concatenate([item.state, item.final_state[None]]),
                action=item.action,
                reward=item.reward,
                terminated=item.terminated,
                success=item.success,
                **{camera: images.transpose(0, 2, 3, 1) for camera, images in item.images.items()},
                **item.sensors,
            )


main(Path(sys.argv[1]))
