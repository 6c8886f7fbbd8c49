"""The physical world: a table, a gantry gripper, coloured objects and coloured zones as a MuJoCo model.

Frame: x to the right, y away from the camera, z up, origin in the middle of the table top [m].
Seen from above the closed fingers form a cross: two gripping pads along y with a rib each along x.
Whatever lies in one of its four corners is held from two sides, so that pushing is stable in every direction.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import mujoco
import numpy as np
from numpy.typing import NDArray

TIMESTEP_S = 0.01
SUBSTEPS = 10
CONTROL_HZ = 1.0 / (TIMESTEP_S * SUBSTEPS)

TABLE_HALF = (0.34, 0.27)
HAND_LOW = (-0.30, -0.24, 0.018)
HAND_HIGH = (0.30, 0.25, 0.20)
FINGER_TRAVEL = 0.045
FINGER_GAP = 0.001
PAD_HALF = (0.004, 0.036)
RIB_END = 0.040
ZONE_RADIUS = 0.055
OBJECT_KG = 0.06
CAMERA_POS = (0.0, -0.30, 0.56)
CAMERA_FORWARD = (0.0, 0.498, -0.867)
CAMERA_DOWN = (0.0, -0.867, -0.498)
CAMERA_FOVY_DEG = 40.0

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.84, 0.12, 0.12),
    "blue": (0.12, 0.28, 0.86),
    "green": (0.13, 0.62, 0.20),
    "yellow": (0.95, 0.83, 0.12),
    "purple": (0.55, 0.16, 0.70),
    "pink": (0.96, 0.55, 0.72),
    "cyan": (0.14, 0.78, 0.82),
    "brown": (0.42, 0.24, 0.11),
    "lime": (0.62, 0.90, 0.10),
    "magenta": (0.86, 0.10, 0.55),
}
"""Object colours, easiest first."""

ZONE_COLOURS: dict[str, tuple[float, float, float]] = {
    "white": (0.95, 0.95, 0.95),
    "black": (0.10, 0.10, 0.11),
    "orange": (0.96, 0.50, 0.10),
}


@dataclass(frozen=True)
class Part:
    """One geom of an object, in the object's frame.

    Attributes:
        type: MuJoCo geom type. size: its MuJoCo sizes [m]. pos: its centre [m].
        shade: factor on the object's colour.
        solid: whether it collides; the first part always does and carries the mass.
    """

    type: str
    size: tuple[float, ...]
    pos: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shade: float = 1.0
    solid: bool = True


@dataclass(frozen=True)
class Shape:
    """An object's form: its parts, half its width and the height of its origin when it stands [m]."""

    parts: tuple[Part, ...]
    radius: float
    half_height: float
    top: float


SHAPES: dict[str, Shape] = {
    "cube": Shape((Part("box", (0.024, 0.024, 0.024)),), 0.024, 0.024, 0.024),
    "ball": Shape((Part("sphere", (0.026,)),), 0.026, 0.026, 0.026),
    "cylinder": Shape((Part("cylinder", (0.023, 0.032)),), 0.023, 0.032, 0.032),
    "cup": Shape(
        (
            Part("cylinder", (0.022, 0.025)),
            Part("cylinder", (0.018, 0.0005), (0.0, 0.0, 0.0252), 0.25, solid=False),
            Part("box", (0.003, 0.007, 0.003), (0.0, 0.028, 0.012), 0.8, solid=False),
            Part("box", (0.003, 0.003, 0.012), (0.0, 0.035, 0.0), 0.8, solid=False),
            Part("box", (0.003, 0.007, 0.003), (0.0, 0.028, -0.012), 0.8, solid=False),
        ),
        0.022,
        0.025,
        0.025,
    ),
    "bottle": Shape(
        (
            Part("cylinder", (0.019, 0.024)),
            Part("cylinder", (0.008, 0.009), (0.0, 0.0, 0.033), 0.85),
            Part("cylinder", (0.010, 0.004), (0.0, 0.0, 0.046), 0.3),
        ),
        0.019,
        0.024,
        0.050,
    ),
}
"""Object shapes, easiest first. Origin of each: the centre of its first part."""

LEFT, RIGHT, PALM, NOTHING = -1, -2, -3, -4
"""Owners of geoms that are no objects; objects have numbers from 0."""


@dataclass(frozen=True)
class World:
    """A compiled model of one row, with the addresses that the hot path needs.

    Attributes:
        model: owned by one row, which sets colours and zone positions on it.
        owner: (ngeom,) which object, or LEFT, RIGHT, PALM or NOTHING, a geom belongs to.
        shapes: names of the objects' shapes, in order.
    """

    model: mujoco.MjModel
    owner: NDArray[np.int64]
    shapes: tuple[str, ...]

    @property
    def num_objects(self) -> int:
        """How many objects there are."""
        return len(self.shapes)

    def paint(
        self,
        colours: tuple[str, ...],
        zone_colours: tuple[str, ...],
        zones: NDArray[np.float64],
    ) -> None:
        """Set the objects' colours, the zones' colours and the zones' positions (Z, 2) [m] on the model."""
        model = self.model
        for number, (shape, colour) in enumerate(zip(self.shapes, colours, strict=True)):
            for part, geom in zip(SHAPES[shape].parts, np.flatnonzero(self.owner == number), strict=True):
                model.geom_rgba[geom, :3] = np.multiply(COLOURS[colour], part.shade)
        for number, colour in enumerate(zone_colours):
            model.geom_rgba[model.geom(f"zone{number}").id, :3] = ZONE_COLOURS[colour]
            model.body_pos[model.body(f"zone{number}").id, :2] = zones[number]


def build(shapes: tuple[str, ...], num_zones: int) -> World:
    """Return a world with these objects and zones; the compiled model is cached and copied."""
    model = copy.copy(_compile(shapes, num_zones))
    return World(model, _owners(model), shapes)


@lru_cache(maxsize=256)
def _compile(shapes: tuple[str, ...], num_zones: int) -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(mjcf(shapes, num_zones))


def _owners(model: mujoco.MjModel) -> NDArray[np.int64]:
    prefixes = {"left": LEFT, "right": RIGHT, "hand": PALM}
    names = [model.body(body).name for body in model.geom_bodyid]
    return np.array([int(name[6:]) if name.startswith("object") else prefixes.get(name, NOTHING) for name in names])


def mjcf(shapes: tuple[str, ...], num_zones: int) -> str:
    """Return the model's description in MuJoCo's XML.

    Group 0 holds the hand ("hand_*"), the fingers ("left_*", "right_*"), the objects ("object<k>_<part>")
    and the plane "table"; group 1 the zones ("zone<k>"), which touch nothing.
    """
    objects = "".join(_object(number, name) for number, name in enumerate(shapes))
    zones = "".join(
        f'<body name="zone{number}" pos="{0.1 * number} 0.1 0"><geom name="zone{number}" type="cylinder" '
        f'size="{ZONE_RADIUS} 0.0008" pos="0 0 0.0008" contype="0" conaffinity="0" group="1"/></body>'
        for number in range(num_zones)
    )
    up = _text(-value for value in CAMERA_DOWN)
    return f"""
<mujoco model="tabletop">
  <option timestep="{TIMESTEP_S}" integrator="implicitfast" iterations="30" ls_iterations="20"/>
  <size memory="4M"/>
  <compiler angle="radian"/>
  <default>
    <geom friction="1.1 0.005 0.0001" solref="0.02 1" solimp="0.95 0.99 0.001"/>
    <default class="object"><geom contype="2" conaffinity="7" condim="6" friction="0.3 0.005 0.003"/></default>
    <default class="finger"><geom type="box" contype="4" conaffinity="0" rgba="0.16 0.17 0.19 1"/></default>
    <default class="hand"><geom contype="4" conaffinity="0" rgba="0.80 0.81 0.83 1"/></default>
  </default>
  <worldbody>
    <camera name="front" pos="{_text(CAMERA_POS)}" xyaxes="1 0 0 {up}" fovy="{CAMERA_FOVY_DEG}"/>
    <geom name="table" type="plane" size="{TABLE_HALF[0]} {TABLE_HALF[1]} 0.01" contype="1" conaffinity="0"
          friction="0.6 0.005 0.006" rgba="0.78 0.68 0.55 1"/>
    {zones}
    <body name="hand" pos="0 0 0" gravcomp="1">
      <joint name="x" type="slide" axis="1 0 0"/>
      <joint name="y" type="slide" axis="0 1 0"/>
      <joint name="z" type="slide" axis="0 0 1"/>
      <geom name="hand_palm" class="hand" type="box" size="0.052 0.020 0.010" pos="0 0 0.078" mass="0.3"/>
      <geom name="hand_wrist" class="hand" type="cylinder" size="0.016 0.016" pos="0 0 0.104" mass="0.1"/>
      {_finger("left", -1)}
      {_finger("right", 1)}
    </body>
    {objects}
  </worldbody>
  <actuator>
    <position joint="x" kp="400" kv="31"/>
    <position joint="y" kp="400" kv="31"/>
    <position joint="z" kp="400" kv="31"/>
    <position joint="left" kp="120" kv="9"/>
    <position joint="right" kp="120" kv="9"/>
  </actuator>
</mujoco>"""


def _finger(name: str, side: int) -> str:
    """Return one finger: a pad that faces the other finger, with a rib on its back; its joint opens outwards."""
    thick, wide = PAD_HALF
    rib = (RIB_END - 2 * thick) / 2
    return f"""
      <body name="{name}" gravcomp="1">
        <joint name="{name}" type="slide" axis="{side} 0 0" range="{FINGER_GAP} {FINGER_TRAVEL + 0.002}"
               limited="true" armature="0.12"/>
        <geom name="{name}_pad" class="finger" size="{thick} {wide} 0.0415" pos="{side * thick} 0 0.0265" mass="0.03"/>
        <geom name="{name}_rib" class="finger" size="{rib} {thick} 0.0415"
              pos="{side * (2 * thick + rib)} 0 0.0265" mass="0.02"/>
      </body>"""


def _object(number: int, name: str) -> str:
    shape = SHAPES[name]
    geoms = "".join(
        f'<geom name="object{number}_{index}" class="object" type="{part.type}" '
        f'size="{_text(part.size)}" pos="{_text(part.pos)}" mass="{OBJECT_KG if index == 0 else 0.001}" '
        + ("" if part.solid else 'contype="0" conaffinity="0" ')
        + "/>"
        for index, part in enumerate(shape.parts)
    )
    return (
        f'<body name="object{number}" pos="{0.1 * number} -0.1 {shape.half_height}">'
        f'<freejoint name="object{number}"/>{geoms}</body>'
    )


def _text(values: Iterable[float]) -> str:
    return " ".join(map(str, values))
