"""The fast picture, for policies: flat light, soft blobs for shadows, four rays a pixel where something stands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sinew.envs.tabletop.rays import (
    CYLINDER,
    FLAT,
    ROUND,
    WEIGHT,
    Doubles,
    Floats,
    Ints,
    Placed,
    local_normals,
    meet,
    quadric_constant,
)
from sinew.envs.tabletop.room import FAR_M, Room, boxes_on_image
from sinew.envs.tabletop.shading import KEY, matt_light, shadow_spots, spot_amount, to_linear

OFFSETS = ((-0.375, -0.125), (0.125, -0.375), (-0.125, 0.375), (0.375, 0.125))
"""Where the rays of a pixel go, from its middle [px]: a turned square, so that level edges move smoothly too."""
RAYS = len(OFFSETS)


def draw(room: Room, placed: Sequence[Placed], lights: Sequence[Floats]) -> Floats:
    """Return the light (3, B, P) of B worlds seen from the same place; each is as if drawn alone, bit for bit.

    Args:
        room: where all of them stand.
        placed: their pieces.
        lights: (3, P) each, of their rooms with painted tables.
    """
    pieces, world = Placed.together(placed)
    light = np.stack(lights, axis=1) if len(lights) > 1 else lights[0].copy()
    light = light.reshape(3, -1)
    local, offset = pieces.to_local(), world * room.uv.shape[1]
    center, spread = pieces.center, pieces.axes.transpose(2, 0, 1) * pieces.half.T[:, :, None]
    count = len(world)
    if room.table is None:
        boxes = boxes_on_image(room.view, center, spread, room.numbers.shape)
    else:
        shadows = shadow_spots(pieces, local, room.table.center[2])
        middle, flat = np.empty((count, 3)), np.zeros((3, count, 3))
        middle[:, :2], middle[:, 2] = shadows.center, room.table.center[2]
        flat[0, :, 0], flat[1, :, 1] = shadows.reach()
        center, spread = np.concatenate([center, middle]), np.concatenate([spread, flat], axis=1)
        boxes = boxes_on_image(room.view, center, spread, room.numbers.shape)
        boxes[count:][shadows.strength < 0.02] = 0
        _cast(shadows.rows(), boxes[count:], offset, room, light)
    boxes[:count][pieces.hidden] = 0
    _stand(pieces, local, boxes[:count], offset, room, light)
    return light.reshape(3, len(lights), -1)


def _covered(numbers: Ints, boxes: Ints) -> tuple[Ints, Ints]:
    """Return the pixel numbers inside boxes (K, 4), one box after the other, and how many each holds, (K,)."""
    parts = [numbers[top:bottom, left:right].ravel() for left, top, right, bottom in boxes.tolist()]
    counts = np.array([part.size for part in parts], dtype=np.int64)
    return np.concatenate([*parts, _NO_PIXELS]), counts


_NO_PIXELS = np.zeros(0, dtype=np.int64)


def _cast(rows: Floats, boxes: Ints, offset: Ints, room: Room, light: Floats) -> None:
    """Darken the light (3, B P) of the table where shadows fall, in place; ``offset`` (K,) is where a world begins."""
    pixel, counts = _covered(room.numbers, boxes)
    x, y = room.table_xy.take(pixel, axis=1)
    shade = spot_amount(rows.repeat(counts, axis=1), x, y)
    shade *= room.is_table.take(pixel)
    darkest = np.zeros(light.shape[1], dtype=np.float32)
    np.maximum.at(darkest, pixel + offset.repeat(counts), shade)
    light *= 1.0 - darkest


def _stand(pieces: Placed, local: Doubles, boxes: Ints, offset: Ints, room: Room, light: Floats) -> None:
    """Lay the pieces over the light (3, B P), in place."""
    pixel, counts = _covered(room.numbers, boxes)
    start = np.matmul(local, (room.view.origin - pieces.center)[:, :, None])[:, :, 0]
    pairs = _ray_rows(pieces, local, start, room.directions).repeat(counts, axis=1)
    u, v = room.uv.take(pixel, axis=1)
    across = pairs[-11:-8] * u
    across += pairs[-8:-5] * v
    way = pairs[:-11].reshape(3, RAYS, -1) + across[:, None]
    flat = int(counts[: np.searchsorted(pieces.kind, CYLINDER)].sum())
    t = meet(way, pairs[-5:-2], pairs[-2], pairs[-1], flat)

    size = light.shape[1]
    pixel += offset.repeat(counts)
    ray = pixel + (np.arange(RAYS) * size)[:, None]
    depth = np.repeat(room.depth[:, None], size // room.depth.shape[1], axis=1).ravel()
    np.minimum.at(depth, ray.ravel(), t.ravel())
    hit = np.flatnonzero((t <= depth.take(ray)) & (t < FAR_M))
    column = hit % pixel.size
    piece = np.arange(len(counts)).repeat(counts).take(column)

    frame = _frame(pieces, start).take(piece, axis=1)
    point = t.take(hit) * way.reshape(3, -1).take(hit, axis=1)
    point += frame[:3]
    lit = _shade(point, frame)
    pixel = pixel.take(column)
    light *= 1.0 - np.float32(1.0 / RAYS) * np.bincount(pixel, minlength=size).astype(np.float32)
    for channel in range(3):
        light[channel] += np.bincount(pixel, weights=lit[channel], minlength=size) * (1.0 / RAYS)


def _ray_rows(pieces: Placed, local: Doubles, start: Doubles, directions: Doubles) -> Floats:
    """Return (3 S + 11, K): first rays, steps along u and v, start, weight of z, constant of the quadric."""
    count, rays = len(start), len(directions) - 2
    turned = np.matmul(local, directions.T)
    rows = np.empty((3 * rays + 11, count), dtype=np.float32)
    rows[:-11] = turned[:, :, :rays].transpose(1, 2, 0).reshape(3 * rays, count)
    rows[-11:-5] = turned[:, :, rays:].transpose(2, 1, 0).reshape(6, count)
    rows[-5:-2] = start.T
    rows[-2] = WEIGHT[pieces.kind]
    rows[-1] = quadric_constant(start, rows[-2])
    return rows


def _frame(pieces: Placed, start: Doubles) -> Floats:
    """Return what shading reads of the pieces, (21, K): start, bevel, key and up in their axes, colour, kind."""
    frame = np.empty((21, len(start)), dtype=np.float32)
    frame[:3], frame[3:6] = start.T, pieces.bevel().T
    frame[6:9], frame[9:12] = (KEY @ pieces.axes).T, pieces.axes[:, 2].T
    frame[12:15] = to_linear(pieces.rgba[:, :3]).T
    frame[15:18], frame[18:21] = ROUND[pieces.kind].T, FLAT[pieces.kind].T
    return frame


def _shade(point: Floats, frame: Floats) -> Floats:
    """Return the light (3, N) of surface points (3, N) in the unit frames."""
    normal = local_normals(point, frame[15:18], frame[18:21], frame[3:6])
    scale = 1.0 / np.sqrt(np.einsum("in,in->n", normal, normal))
    key = np.einsum("in,in->n", normal, frame[6:9]) * scale
    rise = np.einsum("in,in->n", normal, frame[9:12]) * scale
    return frame[12:15] * matt_light(np.maximum(key, 0.0), rise)
