"""What the gripper sees and takes."""

from __future__ import annotations

import math

from sinew.core.types import CameraSpec, RobotSpec
from sinew.envs.tabletop.config import TabletopConfig
from sinew.envs.tabletop.scene import CAMERA_DOWN, CAMERA_FORWARD, CAMERA_FOVY_DEG, CAMERA_POS, CONTROL_HZ

MAX_STEP = 0.025
"""Largest displacement of the hand's set-point per tick and axis [m]."""
LEASH = 0.03
"""How far the set-point may run ahead of the hand, per axis [m]."""


def robot_spec(config: TabletopConfig) -> RobotSpec:
    """Return the robot's description for these settings; the camera looks along its z, its y points down the image."""
    size = config.image_size
    focal = size / 2 / math.tan(math.radians(CAMERA_FOVY_DEG) / 2)
    rows = zip((1.0, 0.0, 0.0), CAMERA_DOWN, CAMERA_FORWARD, CAMERA_POS, strict=True)
    pose = (*(value for row in rows for value in row), 0.0, 0.0, 0.0, 1.0)
    return RobotSpec(
        embodiment="gantry-gripper",
        cameras={"front": CameraSpec(size, size, intrinsics=(focal, focal, size / 2, size / 2), pose=pose)},
        state=("x", "y", "z", "lead_x", "lead_y", "lead_z", "opening", "grip", "left_contact", "right_contact"),
        state_units=("m",) * 7 + ("open",) + ("bool",) * 2,
        action=("dx", "dy", "dz", "grip"),
        action_units=("m", "m", "m", "open"),
        low=(-MAX_STEP, -MAX_STEP, -MAX_STEP, 0.0),
        high=(MAX_STEP, MAX_STEP, MAX_STEP, 1.0),
        hz=CONTROL_HZ,
        kind="delta",
        binary=("grip",),
        gripper_sign=1,
    )
