"""Pictures of the table-top world without a graphics library, fast ones for policies and fine ones for people."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import ConfigError
from sinew.envs.tabletop import film as fine
from sinew.envs.tabletop import quick
from sinew.envs.tabletop.rays import Doubles, Floats, Placed, Solids
from sinew.envs.tabletop.room import Room, View, make_room
from sinew.envs.tabletop.shading import to_screen

_TOGETHER = 16
"""Worlds drawn at once: enough to share the overhead, few enough to stay in the cache."""


class RayCamera:
    """The model's camera 0 as a ray caster; geoms of group 0 stand on the table, discs of group 1 are painted on it.

    Equal states give equal bytes. Positions, sizes and colours are read anew for every picture; the model must have
    gone through ``mj_forward`` (or a step) since the state was set. Geoms with alpha below 0.5 are not drawn.

    Args:
        model: a model with a camera; its first plane geom, if any, is the table.
        height: image height [px].
        width: image width [px].
        film: draw for people (soft shadows, highlights, fine edges) instead of as fast as can be.
        draft: with ``film``, in half the time: shadows and edges a little coarser, the rest the same.

    Raises:
        ConfigError: the model has no camera, a drawn geom has a shape without a closed form, or the table is turned.
    """

    def __init__(
        self, model: mujoco.MjModel, height: int, width: int, *, film: bool = False, draft: bool = False
    ) -> None:
        if model.ncam == 0:
            raise ConfigError("the model has no camera to look through. Add one to its XML; the first one is used.")
        self.model, self.height, self.width, self.film = model, height, width, film
        self.draft = film and draft
        self.half: Room | None = None
        plane, disc = mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_CYLINDER
        kinds, groups = model.geom_type, model.geom_group
        self._table = np.flatnonzero(kinds == plane)[:1]
        for geom in self._table:
            _check_level(model, int(geom))
        self._zones = np.flatnonzero((groups == 1) & (kinds == disc))
        self._solids = Solids(model, [int(g) for g in np.flatnonzero((groups == 0) & (kinds != plane))])
        self._painted: tuple[Room | None, bytes, Floats] = (None, b"", np.zeros((3, 0), dtype=np.float32))

    def render(self, data: mujoco.MjData) -> NDArray[np.uint8]:
        """Return the picture, (height, width, 3) RGB."""
        planes = render_rows([self], [data])[0]
        return np.ascontiguousarray(planes.transpose(1, 2, 0))

    def project(self, data: mujoco.MjData, points: Doubles | Floats) -> Doubles:
        """Return where world points (K, 3) [m] appear, (K, 2) with x right and y down, 0..1 inside the picture."""
        view = View.of(self.model, data, self.width / self.height)
        return view.project(np.asarray(points, dtype=np.float64))[0]

    def look(self, data: mujoco.MjData) -> tuple[Room, Floats, Placed]:
        """Return the room, its light (3, P) with the table painted, and what stands in it now."""
        model, table = self.model, self._table
        parts = [data.cam_xpos[0], data.cam_xmat[0], model.cam_fovy[:1]]
        if table.size:
            rgba = model.geom_rgba.take(table, axis=0).astype(np.float64)
            parts += [data.geom_xpos.take(table, axis=0), model.geom_size.take(table, axis=0), rgba]
        stands = b"".join([part.tobytes() for part in parts])
        offsets = fine.OFFSETS if self.film else quick.OFFSETS
        room = make_room(stands, (self.height, self.width), offsets, fine=self.film)
        if self.draft:
            self.half = make_room(stands, ((self.height + 1) // 2, (self.width + 1) // 2), offsets, fine=True)
        return room, self._paint(data, room), self._solids.place(data)

    def _paint(self, data: mujoco.MjData, room: Room) -> Floats:
        """Return the light of the room with its zones, made anew only when one of them has changed."""
        zones = self._zones
        center, size = data.geom_xpos.take(zones, axis=0), self.model.geom_size.take(zones, axis=0)
        rgba = self.model.geom_rgba.take(zones, axis=0)
        key = center.tobytes() + size.tobytes() + rgba.tobytes()
        if self._painted[0] is not room or self._painted[1] != key:
            seen = rgba[:, 3] >= 0.5
            self._painted = (room, key, room.painted(center[seen], size[seen, 0], rgba[seen, :3]))
        return self._painted[2]


def render_rows(cameras: Sequence[RayCamera], states: Sequence[mujoco.MjData]) -> NDArray[np.uint8]:
    """Return pictures of several worlds, (B, 3, height, width) RGB, the same bytes as ``render`` gives for each.

    Worlds that share point of view and table are drawn together, which spreads NumPy's overhead over them.

    Args:
        cameras: B of them, at least one, of one size and kind.
        states: B of them, each of its camera's model.
    """
    looks = [camera.look(data) for camera, data in zip(cameras, states, strict=True)]
    most = 1 if cameras[0].film else _TOGETHER
    pictures: list[NDArray[np.uint8]] = []
    while looks:
        room = looks[0][0]
        alike = next((n for n, look in enumerate(looks[:most]) if look[0] is not room), len(looks[:most]))
        _, lights, placed = zip(*looks[:alike], strict=True)
        if cameras[0].film:
            light = fine.draw(room, placed[0], lights[0], cameras[len(pictures)].half)
        else:
            light = quick.draw(room, placed, lights)
        screen = to_screen(light).reshape(3, alike, cameras[0].height, cameras[0].width)
        pictures.append(screen.transpose(1, 0, 2, 3))
        looks = looks[alike:]
    return np.concatenate(pictures)


def _check_level(model: mujoco.MjModel, geom: int) -> None:
    """Refuse a table plane that is not fixed to the world, level and along x and y."""
    turned = abs(abs(float(model.geom_quat[geom, 0])) - 1.0) > 1e-6
    if turned or model.geom_bodyid[geom] != 0:
        raise ConfigError(
            f"the table plane {model.geom(geom).name!r} is turned or moves; the ray camera wants it level, along x and "
            "y, and part of the world body. Take its quat or euler out of the scene."
        )
