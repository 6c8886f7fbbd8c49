"""The fast picture, for policies: flat light, soft blobs for shadows, four rays a pixel where something stands."""

from __future__ import annotations

import numpy as np

from sinew.envs.tabletop.rays import Doubles, Floats, Ints, Placed, Solids, local_normals, meet, quadric_constant
from sinew.envs.tabletop.room import FAR_M, Backdrop, boxes_on_image
from sinew.envs.tabletop.shading import KEY, matt_light, shadow_spots, spot_amount, to_linear

OFFSETS = np.array([(-0.375, -0.125), (0.125, -0.375), (-0.125, 0.375), (0.375, 0.125)])
"""Where the rays of a pixel go, from its middle [px]: a turned square, so that level edges move smoothly too."""
RAYS = len(OFFSETS)


def draw(solids: Solids, placed: Placed, backdrop: Backdrop) -> Floats:
    """Return the light (3, P) of the scene."""
    table, count = backdrop.table, len(solids)
    local = placed.to_local()
    light = backdrop.light.copy()
    center, spread = placed.center, placed.axes.transpose(2, 0, 1) * placed.half.T[:, :, None]
    if table is None:
        boxes = boxes_on_image(backdrop.view, center, spread, backdrop.numbers.shape)
    else:
        shadows = shadow_spots(placed, local, table.center[2])
        middle, flat = np.empty((count, 3)), np.zeros((3, count, 3))
        middle[:, :2], middle[:, 2] = shadows.center, table.center[2]
        flat[0, :, 0], flat[1, :, 1] = shadows.reach()
        center, spread = np.concatenate([center, middle]), np.concatenate([spread, flat], axis=1)
        boxes = boxes_on_image(backdrop.view, center, spread, backdrop.numbers.shape)
        boxes[count:][shadows.strength < 0.02] = 0
        _cast(shadows.rows(), *_covered(backdrop.numbers, boxes[count:]), backdrop, light)
    boxes[:count][placed.hidden] = 0
    _stand(solids, placed, local, boxes[:count], backdrop, light)
    return light


def _covered(numbers: Ints, boxes: Ints) -> tuple[Ints, Ints]:
    """Return the pixel numbers inside boxes (K, 4), one box after the other, and how many each holds, (K,)."""
    parts = [numbers[top:bottom, left:right].ravel() for left, top, right, bottom in boxes.tolist()]
    counts = np.array([part.size for part in parts], dtype=np.int64)
    return np.concatenate([*parts, _NO_PIXELS]), counts


_NO_PIXELS = np.zeros(0, dtype=np.int64)


def _cast(rows: Floats, index: Ints, counts: Ints, backdrop: Backdrop, light: Floats) -> None:
    """Darken the light (3, P) of the table where shadows fall, in place."""
    x, y = backdrop.table_xy.take(index, axis=1)
    shade = spot_amount(rows.repeat(counts, axis=1), x, y)
    shade *= backdrop.is_table.take(index)
    darkest = np.zeros(light.shape[1], dtype=np.float32)
    np.maximum.at(darkest, index, shade)
    light *= 1.0 - darkest


def _stand(solids: Solids, placed: Placed, local: Doubles, boxes: Ints, backdrop: Backdrop, light: Floats) -> None:
    """Lay the pieces over the light (3, P), in place."""
    index, counts = _covered(backdrop.numbers, boxes)
    start = np.matmul(local, (backdrop.view.origin - placed.center)[:, :, None])[:, :, 0]
    pairs = _ray_rows(local, start, solids.ball, backdrop.directions).repeat(counts, axis=1)
    u, v = backdrop.uv.take(index, axis=1)
    across = pairs[-11:-8] * u
    across += pairs[-8:-5] * v
    way = pairs[:-11].reshape(3, RAYS, -1) + across[:, None]
    flat = int(counts[: solids.num_boxes].sum())
    t = meet(way, pairs[-5:-2], pairs[-2], pairs[-1], flat)

    ray = index + (np.arange(RAYS) * light.shape[1])[:, None]
    depth = backdrop.depth.copy()
    np.minimum.at(depth, ray.ravel(), t.ravel())
    hit = np.flatnonzero((t <= depth.take(ray)) & (t < FAR_M))
    column = hit % index.size
    piece = np.arange(len(solids)).repeat(counts).take(column)

    frame = _frame(solids, placed, start).take(piece, axis=1)
    point = t.take(hit) * way.reshape(3, -1).take(hit, axis=1)
    point += frame[:3]
    lit = _shade(point, frame)
    pixel = index.take(column)
    size = light.shape[1]
    light *= 1.0 - np.float32(1.0 / RAYS) * np.bincount(pixel, minlength=size).astype(np.float32)
    for channel in range(3):
        light[channel] += np.bincount(pixel, weights=lit[channel], minlength=size) * (1.0 / RAYS)


def _ray_rows(local: Doubles, start: Doubles, ball: Floats, directions: Doubles) -> Floats:
    """Return (3 S + 11, K): first rays, steps along u and v, start, weight of z, constant of the quadric."""
    count, rays = len(ball), len(directions) - 2
    turned = (local.reshape(-1, 3) @ directions.T).reshape(count, 3, rays + 2)
    rows = np.empty((3 * rays + 11, count), dtype=np.float32)
    rows[:-11] = turned[:, :, :rays].transpose(1, 2, 0).reshape(3 * rays, count)
    rows[-11:-5] = turned[:, :, rays:].transpose(2, 1, 0).reshape(6, count)
    rows[-5:-2] = start.T
    rows[-2] = np.maximum(ball, 1e-6)  # never quite 0: rays along a cylinder's axis would divide by it
    rows[-1] = quadric_constant(start, rows[-2])
    return rows


def _frame(solids: Solids, placed: Placed, start: Doubles) -> Floats:
    """Return what shading reads of the pieces, (21, K): start, bevel, key and up in their axes, colour, kind."""
    frame = np.empty((21, len(solids)), dtype=np.float32)
    frame[:3], frame[3:6] = start.T, solids.bevel(placed).T
    frame[6:9], frame[9:12] = (KEY @ placed.axes).T, placed.axes[:, 2].T
    frame[12:15] = to_linear(placed.rgba[:, :3]).T
    frame[15:18], frame[18:21] = solids.round_part, solids.flat_part
    return frame


def _shade(point: Floats, frame: Floats) -> Floats:
    """Return the light (3, N) of surface points (3, N) in the unit frames."""
    normal = local_normals(point, frame[15:18], frame[18:21], frame[3:6])
    scale = 1.0 / np.sqrt(np.einsum("in,in->n", normal, normal))
    key = np.einsum("in,in->n", normal, frame[6:9]) * scale
    rise = np.einsum("in,in->n", normal, frame[9:12]) * scale
    return frame[12:15] * matt_light(np.maximum(key, 0.0), rise)
