"""The fine picture, for people: soft shadows from a round lamp, highlights, fine edges, the same colours and light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sinew.envs.tabletop.rays import (
    BOX,
    FLAT,
    ROUND,
    WEIGHT,
    Doubles,
    Floats,
    Placed,
    cross_quadric,
    cross_slabs,
    local_normals,
)
from sinew.envs.tabletop.room import FAR_M, Room, boxes_on_image
from sinew.envs.tabletop.shading import (
    GROUND_LIGHT,
    KEY,
    KEY_LIGHT,
    KEY_RADIUS,
    KEY_SHARE,
    SKY_LIGHT,
    to_linear,
)

OFFSETS = ((0.0, 0.0),)
"""Rays of the empty room, which has soft edges of its own."""
_LIFT_M = 0.0005
"""How far shadow rays start above a surface, so that touching pieces do not stain each other [m]."""


def _lamp(count: int) -> Doubles:
    """Return directions (count, 3) to points spread evenly over the round lamp (Vogel's sunflower)."""
    radius = KEY_RADIUS * np.sqrt((np.arange(count) + 0.5) / count)
    angle = np.arange(count) * np.pi * (3.0 - np.sqrt(5.0))
    side = np.cross(KEY, (0.0, 0.0, 1.0))
    side /= np.linalg.norm(side)
    across = np.multiply.outer(radius * np.cos(angle), side) + np.multiply.outer(
        radius * np.sin(angle), np.cross(KEY, side)
    )
    return KEY + across


@dataclass(frozen=True)
class Care:
    """How much work goes into a picture.

    Attributes:
        rays: per pixel along each axis where something stands.
        table: (L, 3) directions to the lamp for shadows on the table, L a multiple of 8. pieces: on other pieces.
    """

    rays: int
    table: Doubles
    pieces: Doubles


FULL = Care(3, _lamp(32), _lamp(24))
DRAFT = Care(2, _lamp(24), _lamp(8))
"""To be watched while it moves; the shadows on the table are then drawn at half the size."""


@dataclass(frozen=True)
class Piece:
    """One piece in the picture: its number, its pixels (rows, columns) and where the N rays that see it go.

    Attributes:
        pixel: (N,) number of the pixel inside the box. way: (3, N) rays in the unit frame. t: (N,) [m].
    """

    number: int
    rows: slice
    columns: slice
    pixel: NDArray[np.int64]
    way: Floats
    t: Floats


def draw(room: Room, placed: Placed, painted: Floats, draft: Room | None = None) -> Floats:
    """Return the light (3, P) of a scene.

    Args:
        room: where it stands.
        placed: its pieces.
        painted: (3, P) light of the room with its painted table.
        draft: the same room at half the size, for a picture in half the time.
    """
    height, width = room.numbers.shape
    care = FULL if draft is None else DRAFT
    local = placed.to_local()
    light = painted.copy().reshape(3, height, width)
    if room.table is not None:
        shade = _table_shade(placed, local, room if draft is None else draft, care)
        if draft is not None:
            shade = _doubled(shade)[:height, :width]
        light *= 1.0 - KEY_SHARE * shade * room.is_table.reshape(height, width)
    start = np.matmul(local, (room.view.origin - placed.center)[:, :, None])[:, :, 0]
    for piece in _see(placed, local, start, room, care):
        _lay(piece, placed, local, start, room, light, care)
    return light.reshape(3, -1)


def _doubled(values: Floats) -> Floats:
    """Return values (h, w) at twice the size, with straight lines between the middles of the old ones."""
    for axis in (0, 1):
        lines = np.moveaxis(values, axis, 0)
        before, after = np.concatenate([lines[:1], lines[:-1]]), np.concatenate([lines[1:], lines[-1:]])
        both = np.stack([3 * lines + before, 3 * lines + after], axis=1) / 4
        values = np.moveaxis(both.reshape(-1, lines.shape[1]).astype(np.float32), 0, axis)
    return values


def _span(placed: Placed, k: int, way: Floats, start: Floats) -> tuple[Floats, Floats]:
    """Return where rays enter and leave piece ``k``; both arguments are (3, ...) in its unit frame."""
    enter, leave = cross_slabs(way, start)
    kind = placed.kind[k]
    if kind != BOX:
        ball = WEIGHT[kind]
        constant = start[0] ** 2 + start[1] ** 2 + ball * start[2] ** 2 - 1.0
        low, high = cross_quadric(way, start, ball, constant)
        enter, leave = np.maximum(enter, low), np.minimum(leave, high)
    return enter, leave


def _shadowed(placed: Placed, k: int, local: Doubles, start: Floats, lamp: Doubles) -> NDArray[np.uint8]:
    """Return what piece ``k`` hides of the lamp from ``start`` (3, N), in its unit frame, as bits (L / 8, N)."""
    bits = np.zeros((len(lamp) // 8, start.shape[1]), dtype=np.uint8)
    half = placed.half[k].astype(np.float32)
    far = np.sqrt(np.square(start * half[:, None]).sum(axis=0).max(initial=0.0))
    grown = 1.0 + 1.2 * KEY_RADIUS * far / half  # seen from any lamp point, the piece lies within this box
    middle = (local @ KEY).astype(np.float32) / grown
    enter, leave = cross_slabs(middle[:, None], start / grown[:, None])
    index = np.flatnonzero((enter < leave) & (leave > 0.0))
    start = start.take(index, axis=1)[:, None]
    for byte, eight in zip(bits, lamp.reshape(-1, 8, 3), strict=True):  # eight at a time stay in the cache
        way = (local @ eight.T).astype(np.float32)[:, :, None]
        enter, leave = _span(placed, k, way, start)
        byte[index] = np.packbits((enter < leave) & (leave > 0.0), axis=0)[0]
    return bits


def _share(bits: NDArray[np.uint8]) -> Floats:
    """Return the share of the lamp that is hidden, from bits (L / 8, ...)."""
    return np.bitwise_count(bits).sum(axis=0, dtype=np.float32) / np.float32(8 * len(bits))


def _table_shade(placed: Placed, local: Doubles, room: Room, care: Care) -> Floats:
    """Return the share of the lamp that is hidden from every pixel's place on the table, (h, w)."""
    size, table = room.numbers.shape, room.table
    level = table.center[2] if table is not None else 0.0
    spread = placed.axes.transpose(2, 0, 1) * placed.half.T[:, :, None]
    center, reach = placed.center.copy(), np.abs(spread).sum(axis=0)
    rise = np.maximum(center[:, 2] + reach[:, 2] - level, 0.0)
    low = np.maximum(center[:, 2] - reach[:, 2] - level, 0.0)
    thrown = [center[:, :2] - (h / KEY[2])[:, None] * KEY[:2] for h in (low, rise)]
    margin = reach[:, :2] + (1.3 * KEY_RADIUS * rise)[:, None]
    flat = np.zeros((3, len(center), 3))
    half = 0.5 * np.abs(thrown[1] - thrown[0]) + margin
    flat[0, :, 0], flat[1, :, 1] = half.T
    center[:, :2], center[:, 2] = 0.5 * (thrown[0] + thrown[1]), level
    boxes = boxes_on_image(room.view, center, flat, size)
    boxes[placed.hidden] = 0
    bits = np.zeros((len(care.table) // 8, *size), dtype=np.uint8)
    xy = room.table_xy.reshape(2, *size)
    for k, (left, top, right, bottom) in enumerate(boxes.tolist()):
        if right <= left or bottom <= top:
            continue
        x, y = xy[:, top:bottom, left:right].reshape(2, -1)
        matrix = local[k].astype(np.float32)
        start = matrix[:, :1] * (x - np.float32(placed.center[k, 0])) + matrix[:, 1:2] * (
            y - np.float32(placed.center[k, 1])
        )
        start += (matrix[:, 2] * np.float32(level - placed.center[k, 2]))[:, None]
        hidden = _shadowed(placed, k, local[k], start, care.table)
        bits[:, top:bottom, left:right] |= hidden.reshape(-1, bottom - top, right - left)
    return _share(bits)


def _see(placed: Placed, local: Doubles, start: Doubles, room: Room, care: Care) -> list[Piece]:
    """Return the pieces that are seen, each with the rays that reach it first."""
    (height, width), table, fine = room.numbers.shape, room.table, care.rays
    spread = placed.axes.transpose(2, 0, 1) * placed.half.T[:, :, None]
    boxes = boxes_on_image(room.view, placed.center, spread, (height, width))
    boxes[placed.hidden] = 0
    depth = np.full((height * fine, width * fine), FAR_M, dtype=np.float32)
    found: list[tuple[int, list[int], Floats, Floats]] = []
    for k, box in enumerate(boxes.tolist()):
        left, top, right, bottom = box
        if right <= left or bottom <= top:
            continue
        u = (np.arange(left * fine, right * fine) + 0.5) / (width * fine)
        v = (np.arange(top * fine, bottom * fine) + 0.5) / (height * fine)
        turned = room.view.basis @ local[k].T
        along = (turned[0] + np.multiply.outer(u, turned[1])).T.astype(np.float32)
        down = np.multiply.outer(turned[2], v).astype(np.float32)
        way = down[:, :, None] + along[:, None]
        enter, leave = _span(placed, k, way, start[k].astype(np.float32)[:, None, None])
        enter[(enter >= leave) | (enter <= 0.0)] = np.inf
        if table is not None and placed.center[k, 2] - np.abs(spread[:, k, 2]).sum() < table.center[2]:
            enter[enter > table.hides(room.view, u, v[:, None])] = np.inf
        part = depth[top * fine : bottom * fine, left * fine : right * fine]
        np.minimum(part, enter, out=part)
        found.append((k, box, way, enter))
    pieces: list[Piece] = []
    for k, (left, top, right, bottom), way, enter in found:
        part = depth[top * fine : bottom * fine, left * fine : right * fine]
        ray = np.flatnonzero((enter <= part) & (enter < FAR_M))
        if not ray.size:
            continue
        row, column = np.divmod(ray, (right - left) * fine)
        pixel = (row // fine) * (right - left) + column // fine
        rays = way.reshape(3, -1).take(ray, axis=1)
        pieces.append(Piece(k, slice(top, bottom), slice(left, right), pixel, rays, enter.ravel().take(ray)))
    return pieces


def _lay(piece: Piece, placed: Placed, local: Doubles, start: Doubles, room: Room, light: Floats, care: Care) -> None:
    """Lay one piece over the light (3, h, w), in place."""
    k, rays = piece.number, care.rays**2
    place = light[:, piece.rows, piece.columns]
    shape = place.shape[1:]
    size = shape[0] * shape[1]
    point = piece.t * piece.way
    point += start[k].astype(np.float32)[:, None]
    bevel = placed.bevel()[k].astype(np.float32)
    normal = local_normals(point, ROUND[placed.kind[k], :, None], FLAT[placed.kind[k], :, None], bevel[:, None])
    normal /= np.sqrt(np.einsum("in,in->n", normal, normal))
    axes = placed.axes[k].astype(np.float32)
    normal = axes @ normal
    half = placed.half[k].astype(np.float32)[:, None]
    to_eye = axes @ (piece.way * -half)
    to_eye /= np.sqrt(np.einsum("in,in->n", to_eye, to_eye))
    world = axes @ (point * half) + placed.center[k].astype(np.float32)[:, None]

    hits = np.bincount(piece.pixel, minlength=size)
    middle = [np.bincount(piece.pixel, weights=part, minlength=size) for part in (*world, *normal)]
    seen = np.flatnonzero(hits)
    mean = (np.stack(middle)[:, seen] / hits[seen]).astype(np.float32)
    lit = np.ones(size, dtype=np.float32)
    lit[seen] = 1.0 - _piece_shadow(k, (mean[:3] + _LIFT_M * mean[3:]).astype(np.float32), placed, local, care)
    color = _shade(normal, to_eye, lit.take(piece.pixel), world[2], to_linear(placed.rgba[k, :3]), room)
    place *= (1.0 - hits / rays).astype(np.float32).reshape(shape)
    for channel in range(3):
        total = np.bincount(piece.pixel, weights=color[channel], minlength=size)
        place[channel] += total.reshape(shape) / rays


def _piece_shadow(k: int, points: Floats, placed: Placed, local: Doubles, care: Care) -> Floats:
    """Return the share of the lamp that other pieces hide from points (3, N) of piece ``k``."""
    bits = np.zeros((len(care.pieces) // 8, points.shape[1]), dtype=np.uint8)
    radius = np.sqrt(np.square(placed.half).sum(axis=1))
    offset = placed.center - placed.center[k]
    along = offset @ KEY
    reach = radius + radius[k]
    aside = np.sqrt(np.maximum(np.square(offset).sum(axis=1) - along * along, 0.0))
    near = (along > -reach) & (aside < reach + 1.3 * KEY_RADIUS * np.maximum(along, 0.0)) & ~placed.hidden
    near[k] = False
    for other in np.flatnonzero(near):
        start = local[other].astype(np.float32) @ (points - placed.center[other].astype(np.float32)[:, None])
        bits |= _shadowed(placed, int(other), local[other], start, care.pieces)
    return _share(bits)


def _shade(normal: Floats, to_eye: Floats, lit: Floats, z: Floats, color: Floats, room: Room) -> Floats:
    """Return the light (3, N) that goes to the eye.

    Args:
        normal: (3, N) unit.
        to_eye: (3, N) unit.
        lit: (N,) share of the lamp that is seen.
        z: (N,) height [m].
        color: (3,) linear.
        room: for the height and the colour of the table.
    """
    key = KEY.astype(np.float32)
    lamp = np.maximum(key @ normal, 0.0) * lit
    rise = normal[2]
    near = np.clip((z - (room.table.center[2] if room.table is not None else -1.0)) / 0.05, 0.0, 1.0)
    ambient = 0.5 * (SKY_LIGHT - GROUND_LIGHT) * rise + 0.5 * (SKY_LIGHT + GROUND_LIGHT)
    ambient *= 0.62 + 0.38 * np.sqrt(near)
    halfway = key[:, None] + to_eye
    halfway /= np.sqrt(np.einsum("in,in->n", halfway, halfway))
    gleam = np.maximum(np.einsum("in,in->n", normal, halfway), 0.0)
    broad = np.square(np.square(np.square(gleam)))
    sharp = np.square(np.square(np.square(broad)))
    facing = np.clip(np.einsum("in,in->n", normal, to_eye), 0.0, 1.0)
    mirror = np.clip(2.0 * facing * rise - to_eye[2], 0.0, 1.0)
    away = 1.0 - facing
    fresnel = 0.02 + 0.30 * np.square(np.square(away)) * away  # Schlick 1994
    shine = lit * (0.40 * sharp + 0.03 * broad) + fresnel * (0.22 + 0.5 * mirror)
    return np.multiply.outer(color, KEY_LIGHT * lamp + ambient) + shine
