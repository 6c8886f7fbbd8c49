"""Writes the same episodes with sinew in both storages, and what they hold as NumPy arrays."""

import dataclasses
import sys
from pathlib import Path

import numpy as np

from sinew.core.types import CameraSpec, RobotSpec
from sinew.data.episode import Episode
from sinew.data.formats import WRITERS, lerobot_write

SPEC = RobotSpec(
    embodiment="toy",
    cameras={"front": CameraSpec(64, 80), "wrist": CameraSpec(64, 64)},
    state=("x", "y", "grip"),
    state_units=("m", "m", "1"),
    action=("dx", "dy"),
    action_units=("m", "m"),
    low=(-1.0, -1.0),
    high=(1.0, 1.0),
    hz=30.0,
    kind="delta",
)


def moving(frames, camera, phase):
    """A bright block on a ramp, moving right by two pixels a frame."""
    images = np.zeros((frames, 3, camera.height, camera.width), np.uint8)
    images[:, phase % 3] = np.linspace(0, 150, camera.width, dtype=np.uint8)
    for tick in range(frames):
        left = (2 * tick + 8 * phase) % (camera.width - 16)
        images[tick, :, 16:48, left : left + 16] = 220
    return images


def episode(number):
    rng = np.random.default_rng(number)
    frames = 20 + 7 * number
    action = rng.uniform(-1, 1, (frames, 2)).astype(np.float32)
    return Episode(
        spec=SPEC,
        images={name: moving(frames, camera, number) for name, camera in SPEC.cameras.items()},
        state=rng.normal(size=(frames, 3)).astype(np.float32),
        action=action,
        executed=action,
        instruction=("pick up the left one", "put it down", 'say "été"')[number % 3],
        task=("pick", "put", "say")[number % 3],
        success=number != 2,
        id=f"episode {number}",
    )


def main(out):
    # Files so small that a data set of six episodes has several of each kind.
    lerobot_write.DATA_MB, lerobot_write.VIDEO_MB = 0.05, 0.01
    episodes = [episode(number) for number in range(6)]
    single = dataclasses.replace(SPEC, action=("dx",), action_units=("m",), low=(-1.0,), high=(1.0,))
    short = [
        dataclasses.replace(item, spec=single, action=item.action[:, :1], executed=item.executed[:, :1])
        for item in episodes
    ]
    for name, storage, written in (
        ("image", "image", episodes),
        ("video", "video", episodes),
        ("single", "image", short),
    ):
        WRITERS["lerobot"].write(out / name, written, storage=storage)
        np.savez(
            out / f"{name}.npz",
            state=np.concatenate([item.state for item in written]),
            action=np.concatenate([item.action for item in written]),
            success=np.concatenate([np.arange(item.num_frames) == item.num_frames - 1 for item in written])
            & np.repeat([item.success for item in written], [item.num_frames for item in written]),
            episode=np.repeat(np.arange(len(written)), [item.num_frames for item in written]),
            task=np.repeat([item.instruction for item in written], [item.num_frames for item in written]),
            **{camera: np.concatenate([item.images[camera] for item in written]) for camera in SPEC.cameras},
        )


main(Path(sys.argv[1]))
