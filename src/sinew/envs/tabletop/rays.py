"""Where rays meet boxes, cylinders, spheres and capsules, in closed form for many rays at once.

Every shape is cut into convex pieces, and every piece is a unit cube, a unit cylinder or a unit ball in its own
frame (a capsule is a cylinder and two balls). A ray is then a line through that frame, and the intersection of
three slabs and one quadric answers for all pieces. Letters: K pieces, N rays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import ConfigError

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

BEVEL_M = 0.002
"""Width over which the shading of an edge turns from one face to the next [m]."""
BOX, CYLINDER, BALL = 0, 1, 2
_TYPES = mujoco.mjtGeom
ROUND = np.array([(0, 0, 0), (1, 1, 0), (1, 1, 1)], dtype=np.float32)
FLAT = np.array([(1, 1, 1), (0, 0, 1), (0, 0, 0)], dtype=np.float32)
"""For boxes, cylinders and balls: which axes are rounded together by a quadric, and which end in a flat face."""
WEIGHT = np.array([1e-6, 1e-6, 1.0], dtype=np.float32)
"""Likewise the weight of z in the quadric; never quite 0, as rays along a cylinder's axis divide by it."""


@dataclass(frozen=True)
class Piece:
    """One convex piece of a geom: its kind, which geom sizes are its half-sizes, its shift along the geom's z."""

    geom: int
    kind: int
    columns: tuple[int, int, int]
    shift: float = 0.0
    joined: bool = False


def pieces_of(geom: int, geom_type: int, name: str) -> list[Piece]:
    """Return the convex pieces of one geom.

    Raises:
        ConfigError: the geom is of a type that has no closed form here.
    """
    if geom_type == _TYPES.mjGEOM_BOX:
        return [Piece(geom, BOX, (0, 1, 2))]
    if geom_type == _TYPES.mjGEOM_CYLINDER:
        return [Piece(geom, CYLINDER, (0, 0, 1))]
    if geom_type == _TYPES.mjGEOM_SPHERE:
        return [Piece(geom, BALL, (0, 0, 0))]
    if geom_type == _TYPES.mjGEOM_CAPSULE:
        ends = [Piece(geom, BALL, (0, 0, 0), shift=side) for side in (-1.0, 1.0)]
        return [Piece(geom, CYLINDER, (0, 0, 1), joined=True), *ends]
    raise ConfigError(
        f"geom {name!r} is a {mujoco.mjtGeom(geom_type).name}; the ray camera draws boxes, cylinders, spheres and "
        "capsules. Use one of these, or put the geom in group 3, which is not drawn."
    )


@dataclass(frozen=True)
class Placed:
    """K pieces as they stand now, in the world frame.

    Attributes:
        kind: (K,) BOX, CYLINDER or BALL. joined: (K,) True for the barrel of a capsule.
        center: (K, 3) [m]. axes: (K, 3, 3), columns are the piece's axes. half: (K, 3) half-sizes [m].
        rgba: (K, 4) sRGB and opacity in [0, 1].
    """

    kind: Ints
    joined: NDArray[np.bool_]
    center: Doubles
    axes: Doubles
    half: Doubles
    rgba: Floats

    @property
    def hidden(self) -> NDArray[np.bool_]:
        """Which pieces are too transparent to be drawn, (K,)."""
        return self.rgba[:, 3] < 0.5

    def to_local(self) -> Doubles:
        """Return the matrices (K, 3, 3) that turn world vectors into the unit frames."""
        return self.axes.transpose(0, 2, 1) / self.half[:, :, None]

    def bevel(self) -> Doubles:
        """Return the width of the rounded-looking rim in units of the half-sizes, (K, 3)."""
        bevel = np.minimum(BEVEL_M / self.half, 0.5)
        bevel[self.joined, 2] = 1e-4  # a capsule's barrel goes over into its ends
        return bevel

    @classmethod
    def together(cls, parts: Sequence[Placed]) -> tuple[Placed, Ints]:
        """Return all pieces of several worlds, boxes first, and from which world each comes, (K,)."""
        world = np.repeat(np.arange(len(parts)), [len(part.kind) for part in parts])
        if len(parts) == 1:
            return parts[0], world
        kind = np.concatenate([part.kind for part in parts])
        order = np.argsort(kind, kind="stable")
        names = ("joined", "center", "axes", "half", "rgba")
        rest = (np.concatenate([getattr(part, name) for part in parts]).take(order, axis=0) for name in names)
        return cls(kind.take(order), *rest), world.take(order)


class Solids:
    """The drawn pieces of a model: boxes first, then cylinders, then balls.

    Args:
        model: the compiled model.
        geoms: which of its geoms to draw.
    """

    def __init__(self, model: mujoco.MjModel, geoms: list[int]) -> None:
        pieces = [piece for g in geoms for piece in pieces_of(g, int(model.geom_type[g]), model.geom(g).name)]
        pieces.sort(key=lambda piece: piece.kind)
        self.model = model
        self.kind = np.array([piece.kind for piece in pieces], dtype=np.int64)
        self.joined = np.array([piece.joined for piece in pieces], dtype=bool)
        self._geom = np.array([piece.geom for piece in pieces], dtype=np.int64)
        columns = np.array([piece.columns for piece in pieces], dtype=np.int64).reshape(-1, 3)
        self._sizes = 3 * self._geom[:, None] + columns
        self._shift = np.array([piece.shift for piece in pieces])
        self._shifted = np.flatnonzero(self._shift)

    def place(self, data: mujoco.MjData) -> Placed:
        """Read where the pieces are, how large and of which colour."""
        model, geom = self.model, self._geom
        center, axes = data.geom_xpos.take(geom, axis=0), data.geom_xmat.take(geom, axis=0).reshape(-1, 3, 3)
        half, rgba = model.geom_size.take(self._sizes), model.geom_rgba.take(geom, axis=0)
        ends = self._shifted
        if ends.size:
            length = model.geom_size[geom[ends], 1]
            center[ends] += axes[ends, :, 2] * (self._shift[ends] * length)[:, None]
        return Placed(self.kind, self.joined, center, axes, half, rgba)


def quadric_constant(start: Doubles, ball: Floats) -> Doubles:
    """Return x^2 + y^2 + w z^2 - 1, (K,), at the rays' origins (K, 3) in the unit frames; w is 1 for balls."""
    squares = start * start
    return squares[:, 0] + squares[:, 1] + ball * squares[:, 2] - 1.0


def meet(way: Floats, start: Floats, ball: Floats, constant: Floats, num_flat: int) -> Floats:
    """Return the distance at which rays enter pieces, (..., N), inf for a miss or a ray that starts inside.

    Args:
        way: (3, ..., N) directions in the unit frames; changed a little, so that no component is 0.
        start: (3, N) origins in the unit frames.
        ball: (N,) weight of z in the quadric: 1 for a ball, about 0 for a cylinder.
        constant: (N,) from ``quadric_constant``.
        num_flat: how many of the first columns meet boxes.
    """
    start = start.reshape(3, *[1] * (way.ndim - 2), -1)
    enter, leave = cross_slabs(way, start)
    if num_flat < way.shape[-1]:
        rest = slice(num_flat, None)
        low, high = cross_quadric(way[..., rest], start[..., rest], ball[rest], constant[rest])
        np.maximum(enter[..., rest], low, out=enter[..., rest])
        np.minimum(leave[..., rest], high, out=leave[..., rest])
    enter[(enter >= leave) | (enter <= 0.0)] = np.inf
    return enter


def cross_slabs(way: Floats, start: Floats) -> tuple[Floats, Floats]:
    """Return where rays enter and leave the cube |x|, |y|, |z| <= 1, both (...); entering after leaving is a miss.

    Args:
        way: (3, ...) directions; changed a little, so that no component is 0.
        start: (3, ...) origins.
    """
    way += np.float32(1e-10)
    inverse = 1.0 / way
    middle = start * inverse
    reach = np.abs(inverse)
    far = reach - middle
    middle += reach
    leave = np.minimum(np.minimum(far[0], far[1]), far[2])
    return -np.minimum(np.minimum(middle[0], middle[1]), middle[2]), leave


def cross_quadric(way: Floats, start: Floats, ball: Floats, constant: Floats) -> tuple[Floats, Floats]:
    """Return where rays enter and leave x^2 + y^2 + w z^2 = 1, both (...); a miss has an end of -1."""
    scaled = way.copy()
    scaled[2] *= ball
    a = (way * scaled).sum(axis=0)
    b = (start * scaled).sum(axis=0)
    square = b * b
    square -= a * constant
    root = np.sqrt(np.maximum(square, 0.0))
    low, high = -b - root, root - b
    low /= a
    high /= a
    high[square <= 0.0] = -1.0
    return low, high


def local_normals(point: Floats, round_part: Floats, flat_part: Floats, bevel: Floats) -> Floats:
    """Return outward normals in the pieces' axes, (3, N), not of unit length.

    Near an edge the normal turns from one face to the other over the width of the bevel, so that edges catch light.

    Args:
        point: (3, N) on the surface, in the unit frame.
        round_part: (3, N) which axes the quadric rounds, from ``ROUND``.
        flat_part: (3, N) which axes have flat ends, from ``FLAT``.
        bevel: (3, N) in units of the half-sizes.
    """
    rim = np.abs(point)
    rim -= 1.0
    rim /= bevel
    rim += 1.0
    np.maximum(rim, 0.0, out=rim)
    rim *= flat_part
    normal = np.copysign(rim, point)
    side = point * round_part
    radius = np.sqrt(np.einsum("in,in->n", side, side))
    radius += np.float32(1e-6)
    turn = (radius - 1.0) / bevel[0]
    turn += 1.0
    np.maximum(turn, 0.0, out=turn)
    turn /= radius
    side *= turn
    normal += side
    return normal
