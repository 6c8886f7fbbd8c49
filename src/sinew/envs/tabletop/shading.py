"""Light, colours and shadows: what the fast camera and the film camera agree on.

Light is added up linearly and turned into what a screen shows by a square root (gamma 2, which is quick).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sinew.envs.tabletop.rays import Doubles, Floats, Placed

KEY = np.array([-0.46, -0.30, 0.84]) / np.linalg.norm([-0.46, -0.30, 0.84])
"""Direction towards the key light, from the upper left behind the camera."""
KEY_RADIUS = 0.12
"""Radius of the key light seen from the table [rad]; it sets how soft shadows are."""
KEY_LIGHT, SKY_LIGHT, GROUND_LIGHT = 0.70, 0.31, 0.12
TABLE_LIGHT = KEY_LIGHT * float(KEY[2]) + SKY_LIGHT
"""What an unshadowed level surface receives."""
KEY_SHARE = KEY_LIGHT * float(KEY[2]) / TABLE_LIGHT
"""Part of it that a full shadow takes away."""
EDGE_M = 0.004
"""Width of the light rim along the table's edge [m]."""


def to_linear(color: Floats | Doubles) -> Floats:
    """Turn sRGB in [0, 1] into light."""
    return np.square(np.asarray(color, dtype=np.float32))


def to_screen(light: Floats) -> NDArray[np.uint8]:
    """Turn light into 8-bit sRGB; what is too bright, or below zero where two pieces meet a ray at once, is clipped."""
    screen = np.clip(light, np.float32(0.0), np.float32(1.0))
    np.sqrt(screen, out=screen)
    screen *= 255.0
    screen += 0.5
    return screen.astype(np.uint8)


@dataclass(frozen=True)
class Spots:
    """Soft-edged ellipses on the table: painted zones and the shadows that pieces throw.

    With ``rho^2 = q0 dx^2 + 2 q1 dx dy + q2 dy^2``, a spot is full at rho <= 1 - soft and gone at rho >= 1 + soft.

    Attributes:
        center: (K, 2) [m]. quad: (3, K). soft: (K,). strength: (K,) in [0, 1].
    """

    center: Doubles
    quad: Doubles
    soft: Doubles
    strength: Doubles

    def rows(self) -> Floats:
        """Return (7, K): centre, quadratic form, slope of the edge, strength."""
        rows = np.empty((7, len(self.soft)), dtype=np.float32)
        rows[:2], rows[2:5], rows[5], rows[6] = self.center.T, self.quad, 0.5 / self.soft, self.strength
        return rows

    def reach(self) -> Doubles:
        """Return half the sides of the bounding rectangles, (2, K) [m]."""
        q0, q1, q2 = self.quad
        scale = (1.0 + self.soft) / np.sqrt(np.maximum(q0 * q2 - q1 * q1, 1e-12))
        return np.sqrt(self.quad[::-2]) * scale


def spot_amount(rows: Floats, x: Floats | Doubles, y: Floats | Doubles) -> Floats | Doubles:
    """Return how much of a spot lies on table points (N,), in [0, 1]; rows are (7, N) of ``Spots.rows``."""
    dx, dy = x - rows[0], y - rows[1]
    along = rows[3] * dx
    along += along
    along += rows[4] * dy
    along *= dy
    along += rows[2] * dx * dx
    amount = 1.0 - np.sqrt(along)
    amount *= rows[5]
    amount += 0.5
    return np.minimum(np.maximum(amount, 0.0), 1.0) * rows[6]


def shadow_spots(placed: Placed, local: Doubles, height: float) -> Spots:
    """Return the shadows that pieces, taken as ellipsoids, throw on the table.

    Args:
        placed: the pieces.
        local: (K, 3, 3) of ``placed.to_local``.
        height: of the table [m].
    """
    form = np.einsum("kai,kaj->kij", local, local) * _INSCRIBED
    along = form @ KEY
    g0, g1, _ = along.T
    scale = 1.0 / np.einsum("ki,i->k", along, KEY)
    quad = np.empty((3, len(scale)))
    quad[0] = form[:, 0, 0] - g0 * g0 * scale
    quad[1] = form[:, 0, 1] - g0 * g1 * scale
    quad[2] = form[:, 1, 1] - g1 * g1 * scale
    rise = placed.center[:, 2] - height
    reach = np.maximum(rise, 0.0) / KEY[2]
    center = placed.center[:, :2] - reach[:, None] * KEY[:2]
    soft = 0.2 + KEY_RADIUS * reach * np.sqrt(np.sqrt(quad[0] * quad[2]))
    strength = (KEY_SHARE / (0.95 + 0.5 * soft * soft)) * (rise > 0.0)
    strength[placed.hidden] = 0.0
    return Spots(center, quad, soft, strength)


_INSCRIBED = 1.08**-2
"""An ellipsoid a little larger than the inscribed one throws as much shade as a box."""


def zone_spots(center: Doubles, radius: Doubles, pixel_m: float) -> Spots:
    """Return painted discs whose edge is one pixel wide.

    Args:
        center: (K, 2) [m].
        radius: (K,) [m].
        pixel_m: size of a pixel on the table [m].
    """
    q = 1.0 / np.square(radius)
    return Spots(center, np.stack([q, np.zeros_like(q), q]), 0.6 * pixel_m / radius, np.ones_like(q))


def sky(u: Floats | Doubles, v: Floats | Doubles) -> Floats:
    """Return the light (3, ...) of what lies beyond the table: a quiet room, lighter towards the top."""
    mix = np.clip(1.0 - v, 0.0, 1.0)
    glow = 0.10 * np.exp(-((u - 0.42) ** 2 + (v - 0.05) ** 2) * 3.0)
    ends = ((0.30, 0.62), (0.33, 0.67), (0.37, 0.72))
    return np.square(np.stack([low + (high - low) * mix + glow for low, high in ends])).astype(np.float32)


def table_light(color: Doubles, x: Doubles, y: Doubles, margin: Doubles) -> Floats:
    """Return the light (3, ...) of the bare table.

    Args:
        color: (3,) sRGB.
        x: of points relative to the table's centre [m].
        y: likewise.
        margin: their distances to the nearest edge [m], where a rim catches light.
    """
    fade = 1.0 - 0.10 * (np.square(x / 0.4) + np.square((y - 0.05) / 0.4))
    rim = np.clip(1.0 - margin / EDGE_M, 0.0, 1.0)
    level = TABLE_LIGHT * (np.maximum(fade, 0.5) + 0.35 * rim)
    return np.multiply.outer(to_linear(color), level).astype(np.float32)


def wood_grain(x: Doubles, y: Doubles) -> Floats:
    """Return factors (...) near 1 on the light of table points [m]: boards along x, each with its own fine figure."""
    board = np.floor(y / _BOARD_M)
    across = y / _BOARD_M - board
    own = np.modf(np.sin(board * 12.9898 + 4.1) * 437.5)[0]
    shift = x + 0.7 * own
    drift = 0.006 * np.sin(9.0 * shift + 5.0 * own) + 0.003 * np.sin(23.0 * shift + 40.0 * own)
    ring = (y + drift) * (1.0 + 0.25 * own)
    figure = 0.55 * np.sin(520.0 * ring + 2.0 * np.sin(6.0 * shift)) + 0.45 * np.sin(
        1130.0 * ring + 3.0 * np.sin(11.0 * shift)
    )
    figure += 0.5 * np.sin(170.0 * ring + 6.0 * own)
    seam = np.exp(-np.square(np.minimum(across, 1.0 - across) * (_BOARD_M / 0.0011)))
    return (1.0 + 0.022 * figure + 0.045 * own - 0.22 * seam).astype(np.float32)


_BOARD_M = 0.09
"""Width of the table's boards [m]."""


def matt_light(key: Floats, rise: Floats) -> Floats:
    """Return the light (N,) that a white matt surface sends out.

    Args:
        key: (N,) cosine to the key light, at least 0.
        rise: (N,) cosine to straight up.
    """
    light = KEY_LIGHT * key
    light += 0.5 * (SKY_LIGHT - GROUND_LIGHT) * rise
    light += 0.5 * (SKY_LIGHT + GROUND_LIGHT)
    return light
