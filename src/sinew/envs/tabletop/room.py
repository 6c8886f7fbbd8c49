"""The still part of a picture: the camera, the table with its painted zones, and the room behind."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import mujoco
import numpy as np

from sinew.envs.tabletop.rays import Doubles, Floats, Ints
from sinew.envs.tabletop.shading import TABLE_LIGHT, sky, spot_amount, table_light, to_linear, wood_grain, zone_spots

FAR_M = np.float32(1e6)
"""Depth of a ray that meets nothing [m]."""


@dataclass(frozen=True)
class View:
    """A pinhole camera: a point of the image (x right, y down, both 0..1) looks along basis @ (1, x, y).

    Attributes:
        origin: (3,) [m]. basis: (3, 3) rows; ``t`` along such a ray is the depth in front of the camera [m].
        inverse: (3, 3) from a world offset to (x depth, y depth, depth).
    """

    origin: Doubles
    basis: Doubles
    inverse: Doubles

    @classmethod
    def of(cls, model: mujoco.MjModel, data: mujoco.MjData, aspect: float) -> View:
        """Read camera 0; ``aspect`` is width / height."""
        return cls.at(data.cam_xpos[0], data.cam_xmat[0], float(model.cam_fovy[0]), aspect)

    @classmethod
    def at(cls, origin: Doubles, axes: Doubles, fovy: float, aspect: float) -> View:
        """Return a camera at ``origin`` (3,) [m]; ``axes`` (9,) has right, up and back as columns; fovy in degrees."""
        right, up, back = axes.reshape(3, 3).T
        tall = float(np.tan(np.radians(fovy) / 2.0))
        wide = tall * aspect
        basis = np.stack([-back - wide * right + tall * up, 2.0 * wide * right, -2.0 * tall * up])
        inverse = np.stack([right / (2.0 * wide) - back / 2.0, -up / (2.0 * tall) - back / 2.0, -back], axis=1)
        return cls(origin.copy(), basis, inverse)

    def project(self, points: Doubles) -> tuple[Doubles, Doubles]:
        """Return image points (..., 2) and depths (...) [m] of world points (..., 3)."""
        offset = (points - self.origin) @ self.inverse
        depth = offset[..., 2]
        return offset[..., :2] / np.maximum(depth, 1e-6)[..., None], depth


@dataclass(frozen=True)
class Table:
    """The table top, a level rectangle; half-sizes of 0 mean that it has no end."""

    center: Doubles
    half: Doubles
    color: Doubles

    def depth(self, view: View, u: Doubles, v: Doubles) -> Doubles:
        """Return where rays (...) meet the endless plane of the table top [m]; far or negative where they do not."""
        way = view.basis[0, 2] + view.basis[1, 2] * u + view.basis[2, 2] * v
        return (self.center[2] - view.origin[2]) / np.where(way < -1e-9, way, -1e-9)

    def at(self, view: View, t: Doubles, u: Doubles, v: Doubles) -> tuple[Doubles, Doubles]:
        """Return x and y [m] of the ray points at depth ``t``, relative to the table's centre."""
        start, basis = view.origin - self.center, view.basis
        x, y = (start[k] + t * (basis[0, k] + basis[1, k] * u + basis[2, k] * v) for k in (0, 1))
        return x, y

    def hides(self, view: View, u: Doubles, v: Doubles) -> Doubles:
        """Return the depth behind which the table top hides rays (...), ``FAR_M`` where it does not [m]."""
        t = self.depth(view, u, v)
        seen = (t > 0.0) & (self.margin(*self.at(view, t, u, v)) > 0.0)
        return np.where(seen, t, FAR_M)

    def margin(self, x: Doubles, y: Doubles) -> Doubles:
        """Return the distance to the nearest edge [m], negative outside."""
        return np.minimum(self.half[0] - np.abs(x), self.half[1] - np.abs(y))


@dataclass(frozen=True, eq=False)
class Room:
    """What does not move, from one point of view, for P pixels with S rays each.

    Attributes:
        view: the camera. table: or None.
        directions: (S + 2, 3) of the rays of the pixel at image point (0, 0), then what to add to them per u and per v.
        light: (3, P) of the empty room. depth: (S, P) [m] of the rays.
        uv: (2, P) image points of the pixels. numbers: (h, w) their numbers.
        table_xy: (2, P) [m] world x and y of the pixels on the table. is_table: (P,) part of a pixel that shows it.
        pixel_m: size of a pixel in the middle of the table [m].
    """

    view: View
    table: Table | None
    directions: Doubles
    light: Floats
    depth: Floats
    uv: Floats
    numbers: Ints
    table_xy: Floats
    is_table: Floats
    pixel_m: float

    def painted(self, center: Doubles, radius: Doubles, color: Floats) -> Floats:
        """Return the light (3, P) with discs painted on the table.

        Args:
            center: (Z, 3) [m]; the height does not matter.
            radius: (Z,) [m].
            color: (Z, 3) sRGB.
        """
        if self.table is None or not len(center):
            return self.light
        light = self.light.copy()
        spots = zone_spots(center[:, :2], radius, self.pixel_m)
        spread = np.zeros((3, len(center), 3))
        spread[0, :, 0], spread[1, :, 1] = spots.reach()
        level = np.concatenate([center[:, :2], np.full((len(center), 1), self.table.center[2])], axis=1)
        boxes = boxes_on_image(self.view, level, spread, self.numbers.shape)
        for row, box, rgb in zip(spots.rows().T, boxes.tolist(), to_linear(color), strict=True):
            left, top, right, bottom = box
            index = self.numbers[top:bottom, left:right].ravel()
            amount = spot_amount(row[:, None], *self.table_xy.take(index, axis=1)) * self.is_table.take(index)
            light[:, index] += amount * (np.float32(TABLE_LIGHT) * rgb[:, None] - light[:, index])
        return light


@lru_cache(maxsize=16)
def make_room(stands: bytes, size: tuple[int, int], offsets: tuple[tuple[float, float], ...], *, fine: bool) -> Room:
    """Draw the empty room; rooms are kept, as many rows look at the same one.

    Args:
        stands: 13 doubles of the camera (position, axes, fovy), then, if there is a table, 10 of it (position,
            MuJoCo size, rgba).
        size: height and width of the image [px].
        offsets: S places where the rays of a pixel go, right and down of its middle [px].
        fine: give the table the figure of wood.
    """
    numbers = np.frombuffer(stands)
    height, width = size
    view = View.at(numbers[:3], numbers[3:12], float(numbers[12]), width / height)
    scale = np.array([1.0 / width, 1.0 / height])
    v, u = (np.indices(size).reshape(2, -1) + 0.5) * scale[::-1, None]
    steps = np.array(offsets) * scale
    directions = np.concatenate([view.basis[0] + steps @ view.basis[1:], view.basis[1:]])
    light = sky(u, v)
    depth = np.full((len(steps), u.size), FAR_M)
    table, table_xy, is_table = None, np.zeros((2, u.size)), np.zeros(u.size)
    pixel = float(np.linalg.norm(view.basis[1])) / width
    if numbers.size > _CAMERA_NUMBERS:
        center, half, color = numbers[13:16], numbers[16:18], numbers[19:22]
        table = Table(center, np.where(half > 0.0, half, 1e3), color)
        t = table.depth(view, u, v)
        x, y = table.at(view, t, u, v)
        margin = table.margin(x, y)
        is_table = np.where(t > 0.0, np.clip(margin / (np.maximum(np.abs(t), 0.1) * pixel) + 0.5, 0.0, 1.0), 0.0)
        top = table_light(table.color, x, y, margin)
        table_xy = np.stack([x, y]) + center[:2, None]
        if fine:
            top *= wood_grain(*table_xy)
        light += is_table.astype(np.float32) * (top - light)
        for ray, (step_u, step_v) in enumerate(steps):
            depth[ray] = table.hides(view, u + step_u, v + step_v)
        pixel *= float(view.project(center)[1])
    return Room(
        view,
        table,
        directions,
        light,
        depth.astype(np.float32),
        np.stack([u, v]).astype(np.float32),
        np.arange(u.size).reshape(size),
        table_xy.astype(np.float32),
        is_table.astype(np.float32),
        pixel,
    )


_CAMERA_NUMBERS = 13


def boxes_on_image(view: View, center: Doubles, spread: Doubles, size: tuple[int, int]) -> Ints:
    """Return which pixels the projections of boxes can touch.

    Args:
        view: the camera.
        center: (K, 3) [m].
        spread: (3, K, 3) half-axes, one after the other [m].
        size: height and width of the image [px].

    Returns:
        (K, 4) first column and row, last-plus-one column and row; boxes out of sight have no area.
    """
    height, width = size
    scaled = view.inverse * (width, height, 1.0)
    points = _CORNERS @ (spread.reshape(-1, 3) @ scaled).reshape(3, -1)
    points += ((center - view.origin) @ scaled).ravel()
    points = points.reshape(8, -1, 3)
    depth = points[..., 2:]
    near = depth.min(initial=FAR_M) < _NEAR_M
    xy = points[..., :2] / (np.maximum(depth, _NEAR_M) if near else depth)
    box = np.concatenate([xy.min(axis=0), np.ceil(xy.max(axis=0))], axis=1)
    if near:
        box[depth.min(axis=0)[:, 0] < _NEAR_M] = (0.0, 0.0, width, height)
        box[depth.max(axis=0)[:, 0] < _NEAR_M] = 0.0
    return np.minimum(np.maximum(box, 0.0), (width, height, width, height)).astype(np.int64)


_NEAR_M = 1e-3
_CORNERS = np.array([(x, y, z) for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
