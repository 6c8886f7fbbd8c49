"""Pictures of the table-top world without a graphics library, fast ones for policies and fine ones for people."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import ConfigError
from sinew.envs.tabletop import film as fine
from sinew.envs.tabletop import quick
from sinew.envs.tabletop.rays import Doubles, Floats, Solids
from sinew.envs.tabletop.room import Backdrop, Table, View, Zones, make_backdrop
from sinew.envs.tabletop.shading import to_screen


class RayCamera:
    """The model's camera 0 as a ray caster; geoms of group 0 stand on the table, discs of group 1 are painted on it.

    Equal states give equal bytes. Positions, sizes and colours are read anew for every picture; the model must have
    gone through ``mj_forward`` (or a step) since the state was set. Geoms with alpha below 0.5 are not drawn.

    Args:
        model: a model with a camera; its first plane geom, if any, is the table.
        height: image height [px].
        width: image width [px].
        film: draw for people (soft shadows, highlights, fine edges) instead of as fast as can be.

    Raises:
        ConfigError: the model has no camera, or a drawn geom has a shape without a closed form.
    """

    def __init__(self, model: mujoco.MjModel, height: int, width: int, *, film: bool = False) -> None:
        if model.ncam == 0:
            raise ConfigError("the model has no camera to look through. Add one to its XML; the first one is used.")
        self.model, self.height, self.width, self.film = model, height, width, film
        plane, disc = mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_CYLINDER
        kinds, groups = model.geom_type, model.geom_group
        self._planes = np.flatnonzero(kinds == plane)[:1]
        self._zones = np.flatnonzero((groups == 1) & (kinds == disc))
        self._still = np.concatenate([self._planes, self._zones])
        self._solids = Solids(model, [int(g) for g in np.flatnonzero((groups == 0) & (kinds != plane))])
        self._backdrop: Backdrop | None = None
        self._key = b""

    def render(self, data: mujoco.MjData) -> NDArray[np.uint8]:
        """Return the picture, (height, width, 3) RGB."""
        backdrop = self._behind(data)
        draw = fine.draw if self.film else quick.draw
        light = draw(self._solids, self._solids.place(data), backdrop)
        return np.ascontiguousarray(to_screen(light).T).reshape(self.height, self.width, 3)

    def project(self, data: mujoco.MjData, points: Doubles | Floats) -> Doubles:
        """Return where world points (K, 3) [m] appear, (K, 2) with x right and y down, 0..1 inside the picture."""
        view = View.of(self.model, data, self.width / self.height)
        return view.project(np.asarray(points, dtype=np.float64))[0]

    def _behind(self, data: mujoco.MjData) -> Backdrop:
        """Return the room with its painted table, made anew only when camera, table or zones have changed."""
        model, still = self.model, self._still
        things = (data.geom_xpos, model.geom_size, model.geom_rgba)
        eye = data.cam_xpos[0].tobytes() + data.cam_xmat[0].tobytes() + model.cam_fovy[:1].tobytes()
        key = eye + b"".join([thing.take(still, axis=0).tobytes() for thing in things])
        if self._backdrop is None or self._key != key:
            view = View.of(model, data, self.width / self.height)
            table = Table.of(model, data, int(self._planes[0])) if self._planes.size else None
            size = (self.height, self.width)
            offsets = np.zeros((1, 2)) if self.film else quick.OFFSETS
            self._backdrop, self._key = (
                make_backdrop(view, table, self._paint(data), size, offsets, grain=self.film),
                key,
            )
        return self._backdrop

    def _paint(self, data: mujoco.MjData) -> Zones:
        """Return the zones that are not transparent, as they stand now."""
        rgba = self.model.geom_rgba[self._zones]
        zones = self._zones[rgba[:, 3] >= 0.5]
        return Zones(data.geom_xpos[zones, :2], self.model.geom_size[zones, 0], self.model.geom_rgba[zones, :3])
