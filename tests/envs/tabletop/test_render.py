"""Pictures are deterministic, exact in geometry and honest in colour, for policies and for people."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from sinew.core.errors import ConfigError
from sinew.envs.tabletop.rays import BOX, FLAT, ROUND, WEIGHT, Solids, local_normals, meet, quadric_constant
from sinew.envs.tabletop.render import RayCamera, render_rows
from sinew.envs.tabletop.scene import build

SHAPES = {
    "box": '<geom type="box" size=".03 .02 .025" rgba="{rgba}"/>',
    "sphere": '<geom type="sphere" size=".03" rgba="{rgba}"/>',
    "cylinder": '<geom type="cylinder" size=".025 .03" rgba="{rgba}"/>',
    "capsule": '<geom type="capsule" size=".02 .025" rgba="{rgba}"/>',
}
TABLE = '<geom name="table" type="plane" size=".34 .27 .01" rgba=".6 .5 .4 1"/>'
ZONE = '<geom name="zone" type="cylinder" size=".05 .001" pos="-.1 .1 .001" rgba="1 1 1 1" group="1" contype="0"/>'
CAMERA = '<camera pos="0 -.3 .56" xyaxes="1 0 0 0 .867 .498" fovy="46"/>'


def scene(*shapes: str, extra: str = TABLE, rgba: str = ".9 .1 .1 1") -> tuple[mujoco.MjModel, mujoco.MjData]:
    """Return a table with one free body per shape, side by side at a height of 10 cm."""
    bodies = "".join(
        f'<body pos="{0.12 * i - 0.12} {0.05 * i} .1" euler="{20 * i} 30 10"><freejoint/>'
        f"{SHAPES[s].format(rgba=rgba)}</body>"
        for i, s in enumerate(shapes)
    )
    model = mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{CAMERA}{extra}{bodies}</worldbody></mujoco>")
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def picture(model: mujoco.MjModel, data: mujoco.MjData, size: int = 64, *, film: bool = False) -> np.ndarray:
    mujoco.mj_forward(model, data)
    return RayCamera(model, size, size, film=film).render(data)


def redness(image: np.ndarray) -> np.ndarray:
    """Return how much redder than green each pixel is."""
    return np.maximum(image[..., 0].astype(float) - 2.0 * image[..., 1], 0.0)


def centroid(weight: np.ndarray) -> tuple[float, float]:
    """Return the centre (x, y) of a weight image in 0..1."""
    rows, columns = np.indices(weight.shape) + 0.5
    total = weight.sum()
    return float((columns * weight).sum() / total / weight.shape[1]), float(
        (rows * weight).sum() / total / weight.shape[0]
    )


@pytest.mark.parametrize("film", [False, True])
def test_equal_states_give_equal_bytes_whatever_was_drawn_before(film: bool) -> None:
    model, data = scene("box", "sphere", extra=TABLE + ZONE)
    camera = RayCamera(model, 48, 48, film=film)
    first = camera.render(data)
    qpos = data.qpos.copy()
    data.qpos[0] += 0.05
    model.geom_rgba[model.geom("zone").id, :3] = 0.2
    mujoco.mj_forward(model, data)
    other = camera.render(data)
    data.qpos[:] = qpos
    model.geom_rgba[model.geom("zone").id, :3] = 1.0
    mujoco.mj_forward(model, data)
    assert not np.array_equal(first, other)
    assert np.array_equal(first, camera.render(data))
    assert np.array_equal(first, RayCamera(model, 48, 48, film=film).render(data))


@pytest.mark.parametrize("film", [False, True])
def test_worlds_drawn_together_give_the_bytes_of_worlds_drawn_alone(film: bool) -> None:
    rng = np.random.default_rng(0)
    worlds = [scene(*rng.permutation(list(SHAPES))[: rng.integers(0, 5)], extra=TABLE + ZONE) for _ in range(11)]
    worlds[4] = scene("box", extra=TABLE.replace(".34", ".3"))
    for model, data in worlds:
        data.qpos[:] += rng.normal(0.0, 0.05, model.nq)
        mujoco.mj_forward(model, data)
    cameras = [RayCamera(model, 40, 40, film=film) for model, _ in worlds]
    together = render_rows(cameras, [data for _, data in worlds])
    alone = [RayCamera(model, 40, 40, film=film).render(data).transpose(2, 0, 1) for model, data in worlds]
    assert np.array_equal(together, np.stack(alone))


@pytest.mark.parametrize("film", [False, True])
def test_picture_has_the_asked_size_and_type(film: bool) -> None:
    model, data = scene("box")
    image = RayCamera(model, 30, 44, film=film).render(data)
    assert image.shape == (30, 44, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous


def test_an_unshadowed_table_pixel_has_the_colour_of_the_table_times_its_light() -> None:
    model, data = scene()
    camera = RayCamera(model, 64, 64)
    x, y = camera.project(data, np.array([[0.0, 0.05, 0.0]]))[0]
    pixel = camera.render(data)[int(y * 64), int(x * 64)].astype(float)
    # light on a level surface: key .70 x .8367 (cosine) + sky .31 = .8960; sRGB is its square root times the colour
    assert pixel == pytest.approx(255 * np.sqrt(0.8960) * np.array([0.6, 0.5, 0.4]), abs=1.5)


@pytest.mark.parametrize("film", [False, True])
def test_colours_are_read_for_every_picture(film: bool) -> None:
    model, data = scene("sphere", extra=TABLE + ZONE)
    camera = RayCamera(model, 64, 64, film=film)
    spots = camera.project(data, np.array([[-0.12, 0.0, 0.13], [-0.1, 0.1, 0.0]]))
    columns, rows = (spots * 64).astype(int).T
    assert np.argmax(camera.render(data)[rows[0], columns[0]]) == 0
    model.geom_rgba[model.geom("zone").id] = (0.1, 0.9, 0.1, 1)
    model.geom_rgba[-1] = (0.1, 0.1, 0.9, 1)
    image = camera.render(data)
    assert np.argmax(image[rows[0], columns[0]]) == 2
    assert np.argmax(image[rows[1], columns[1]]) == 1


@pytest.mark.parametrize("film", [False, True])
@pytest.mark.parametrize(("axis", "sign_x", "sign_y"), [(0, 1, 0), (1, 0, -1), (2, 0, -1)])
def test_an_object_moves_in_the_picture_as_in_the_world(film: bool, axis: int, sign_x: int, sign_y: int) -> None:
    model, data = scene("sphere", extra="")
    data.qpos[:3] = (0.0, 0.0, 0.1)
    before = centroid(redness(picture(model, data, film=film)))
    data.qpos[axis] += 0.03
    after = centroid(redness(picture(model, data, film=film)))
    moved = np.subtract(after, before)
    assert np.sign(np.where(np.abs(moved) < 0.01, 0.0, moved)).tolist() == [sign_x, sign_y]


def test_an_object_that_moves_by_a_quarter_pixel_changes_the_picture_smoothly() -> None:
    model, data = scene("sphere", extra="")
    data.qpos[:3] = (0.0, 0.0, 0.1)
    places = []
    for step in range(9):
        data.qpos[0] = 0.002 * step
        places.append(centroid(redness(picture(model, data)))[0] * 64)
    expected = [RayCamera(model, 64, 64).project(data, np.array([[0.002 * k, 0.0, 0.1]]))[0, 0] * 64 for k in range(9)]
    assert np.subtract(places, places[0]) == pytest.approx(np.subtract(expected, expected[0]), abs=0.15)


@pytest.mark.parametrize("film", [False, True])
@pytest.mark.parametrize("size", [(64, 64), (48, 80)])
def test_project_agrees_with_where_an_object_is_drawn(film: bool, size: tuple[int, int]) -> None:
    model, data = scene("sphere", extra="")
    camera = RayCamera(model, *size, film=film)
    for place in ((-0.1, 0.1, 0.05), (0.15, -0.05, 0.1), (0.0, 0.0, 0.2)):
        data.qpos[:3] = place
        mujoco.mj_forward(model, data)
        empty = model.geom_rgba[-1].copy()
        drawn = camera.render(data).astype(float)
        model.geom_rgba[-1, 3] = 0.0
        covered = np.abs(drawn - camera.render(data)).sum(axis=-1) > 60
        model.geom_rgba[-1] = empty
        assert centroid(covered.astype(float)) == pytest.approx(camera.project(data, np.array([place]))[0], abs=0.012)


def test_the_table_has_no_holes() -> None:
    model, data = scene()
    model.geom_size[0, :2] = 0.0
    data.cam_xmat[0] = (1, 0, 0, 0, 1, 0, 0, 0, 1)
    image = RayCamera(model, 64, 64).render(data).astype(int)
    assert np.abs(image - image[32, 32]).max() < 40
    assert np.abs(np.diff(image, axis=0)).max() <= 3
    assert np.abs(np.diff(image, axis=1)).max() <= 3


@pytest.mark.parametrize("film", [False, True])
def test_shadows_darken_the_table_and_leave_objects_in_place(film: bool) -> None:
    model, data = scene("box", "sphere", "cylinder", "capsule")
    bare, bare_data = scene("box", "sphere", "cylinder", "capsule", extra="")
    with_table = picture(model, data, 96, film=film).astype(int)
    without = picture(bare, bare_data, 96, film=film)
    table_only = picture(*scene(), 96, film=film).astype(int)
    covered = np.any(without != picture(*scene(extra=""), 96, film=film), axis=-1)
    changed = np.any(with_table != table_only, axis=-1)
    assert changed[covered].mean() > 0.99
    shadow = changed & ~covered
    assert shadow.sum() > 100
    assert (with_table <= table_only)[shadow].all()
    ratio = with_table[shadow] / np.maximum(table_only[shadow], 1)
    assert ratio.max(axis=1) == pytest.approx(ratio.min(axis=1), abs=0.05)  # darker, of the same hue


@pytest.mark.parametrize("shape", [[], ["box"], ["sphere"], ["cylinder"], ["capsule"], ["sphere", "box"], list(SHAPES)])
@pytest.mark.parametrize("film", [False, True])
def test_any_subset_of_shapes_is_drawn(shape: list[str], film: bool) -> None:
    image = picture(*scene(*shape), film=film)
    assert (redness(image) > 60).any() == bool(shape)


@pytest.mark.parametrize("film", [False, True])
def test_a_model_without_table_shows_sky_around_the_object(film: bool) -> None:
    image = picture(*scene("box", extra=""), film=film)
    assert redness(image).max() > 60
    assert image[0, 0].argmax() == 2


@pytest.mark.parametrize("shape", list(SHAPES))
def test_distances_agree_with_the_physics_engine(shape: str) -> None:
    model, data = scene(shape, extra="")
    solids = Solids(model, [0])
    placed = solids.place(data)
    local = placed.to_local()
    origin = np.array([0.05, -0.3, 0.5])
    rng = np.random.default_rng(0)
    aims = data.geom_xpos[0] + rng.uniform(-0.05, 0.05, (300, 3))
    ways = (aims - origin) / np.linalg.norm(aims - origin, axis=1, keepdims=True)
    start = np.einsum("kij,kj->ki", local, origin - placed.center)
    ours = np.full(300, np.inf)
    for k, kind in enumerate(solids.kind):
        column = np.broadcast_to(start[k].astype(np.float32)[:, None], (3, 300))
        ball = np.full(300, WEIGHT[kind])
        constant = np.full(300, quadric_constant(start, WEIGHT[solids.kind])[k], dtype=np.float32)
        flat = 300 if kind == BOX else 0
        ours = np.minimum(ours, meet((local[k] @ ways.T).astype(np.float32), column, ball, constant, flat))
    found = np.zeros(1, dtype=np.int32)
    theirs = np.array([mujoco.mj_ray(model, data, origin, way, None, 1, -1, found) for way in ways])
    theirs[theirs < 0] = np.inf
    same = np.isfinite(ours) == np.isfinite(theirs)
    assert same.mean() > 0.98  # float32 may differ at the very edge
    both = np.isfinite(ours) & np.isfinite(theirs)
    assert both.sum() > 50
    assert np.abs(ours[both] - theirs[both]).max() < 1e-4


def test_normals_are_those_of_the_faces_away_from_edges() -> None:
    points = np.array([[1.0, 0.3, -0.2], [0.6, -0.8, 0.1], [0.0, 0.6, 0.8]], dtype=np.float32).T
    bevel = np.full((3, 3), 0.05, dtype=np.float32)
    normals = local_normals(points, ROUND.T, FLAT.T, bevel)
    wanted = np.array([[1, 0, 0], [0.6, -0.8, 0], [0, 0.6, 0.8]])
    assert np.abs(normals.T - wanted).max() < 1e-4


def test_nearer_pieces_hide_farther_ones() -> None:
    model, data = scene("box", "sphere", extra="")
    data.qpos[:3], data.qpos[7:10] = (0.0, 0.05, 0.05), (0.0, -0.02, 0.2)
    model.geom_rgba[1] = (0.1, 0.1, 0.9, 1)
    for film in (False, True):
        image = picture(model, data, film=film)
        x, y = RayCamera(model, 64, 64).project(data, np.array([[0.0, -0.02, 0.2]]))[0]
        assert np.argmax(image[int(y * 64), int(x * 64)]) == 2


def test_what_is_under_the_table_is_not_seen() -> None:
    model, data = scene("box")
    data.qpos[:3] = (0.0, 0.05, -0.1)
    assert redness(picture(model, data)).max() < 10
    assert redness(picture(model, data, film=True)).max() < 10


def test_transparent_geoms_are_left_out_with_their_shadows() -> None:
    model, data = scene("box", rgba=".9 .1 .1 0")
    assert np.array_equal(picture(model, data), picture(*scene()))


def test_both_cameras_show_the_same_scene() -> None:
    world = build(("cube", "ball", "cylinder"), 2)
    world.paint(("red", "blue", "green"), ("white", "black"), np.array([[-0.16, 0.1], [0.16, 0.0]]))
    data = mujoco.MjData(world.model)
    fast = picture(world.model, data, 64).astype(float)
    fine = picture(world.model, data, 192, film=True).reshape(64, 3, 64, 3, 3).mean(axis=(1, 3))
    assert np.abs(fast - fine).mean() < 8
    assert np.median(np.abs(fast - fine)) < 5


def test_a_model_without_camera_is_refused() -> None:
    model = mujoco.MjModel.from_xml_string("<mujoco><worldbody/></mujoco>")
    with pytest.raises(ConfigError, match="no camera"):
        RayCamera(model, 64, 64)


def test_a_shape_without_closed_form_is_refused_by_name() -> None:
    extra = '<geom name="egg" type="ellipsoid" size=".01 .02 .03"/>'
    with pytest.raises(ConfigError, match=r"'egg'.*group 3"):
        RayCamera(scene(extra=extra)[0], 64, 64)


def test_a_turned_table_is_refused() -> None:
    model, _ = scene(extra=TABLE.replace("/>", ' euler="5 0 0"/>'))
    with pytest.raises(ConfigError, match="turned"):
        RayCamera(model, 64, 64)


def test_a_draft_looks_like_the_fine_picture() -> None:
    model, data = scene("box", "sphere", "cylinder", extra=TABLE + ZONE)
    draft = RayCamera(model, 65, 65, film=True, draft=True).render(data)
    difference = np.abs(draft.astype(int) - picture(model, data, 65, film=True))
    assert 0 < difference.mean() < 1.0
    assert (difference.max(axis=2) > 48).mean() < 0.01
