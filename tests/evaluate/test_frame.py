from __future__ import annotations

import numpy as np
import pytest

from sinew.evaluate.frame import BAD, GOOD, INK, PAPER, POINT_COLOURS, Caption, Shot, draw_frame, frame_size

GREY = np.full((160, 160, 3), 128, dtype=np.uint8)


def colours(frame: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(pixel) for pixel in frame.reshape(-1, 3).tolist()}


@pytest.mark.parametrize("size", [64, 161, 480])
@pytest.mark.parametrize("footer", [True, False])
def test_frames_have_the_announced_even_size(size: int, footer: bool) -> None:
    frame = draw_frame(Shot(np.zeros((size, size, 3), dtype=np.uint8)), Caption("go"), footer=footer)
    width, height = frame_size(size, footer=footer)
    assert frame.shape == (height, width, 3)
    assert frame.dtype == np.uint8
    assert width % 2 == height % 2 == 0


@pytest.mark.parametrize("place", [(0.5, 0.5), (0.25, 0.75), (0.9, 0.4)])
def test_a_point_is_marked_where_it_lies_in_its_own_colour(place: tuple[float, float]) -> None:
    large = np.full((480, 480, 3), 128, dtype=np.uint8)
    bare = draw_frame(Shot(large), Caption("go"), footer=False)
    frame = draw_frame(Shot(large, points={"first": (0.6, 0.95), "second": place}), Caption("go"), footer=False)
    x, y = round(place[0] * 480), frame.shape[0] - 480 + round(place[1] * 480)
    assert tuple(frame[y, x]) == POINT_COLOURS[1]
    alone = draw_frame(Shot(large, points={"one": place}), Caption("go"), footer=False)
    changed = np.argwhere((alone != bare).any(2))
    assert abs(changed.mean(0) - (y - 0.5, x - 0.5)).max() <= 0.5  # the ring lies around the point
    assert np.ptp(changed, axis=0).max() <= 0.1 * 480


def test_a_point_outside_the_picture_is_not_drawn() -> None:
    bare = draw_frame(Shot(GREY), Caption("go"), footer=False)
    assert (draw_frame(Shot(GREY, points={"far": (1.2, 0.5)}), Caption("go"), footer=False) == bare).all()


def test_the_legend_names_each_point_in_its_colour() -> None:
    frame = draw_frame(Shot(GREY, points={"left_thing": (2.0, 2.0), "right": (3.0, 3.0)}), Caption("go"))
    footer = frame[-(frame.shape[0] - frame_size(160, footer=False)[1]) :]
    assert set(POINT_COLOURS[:2]) <= colours(footer)
    assert POINT_COLOURS[2] not in colours(footer)


def test_the_policys_view_is_inset_with_a_frame() -> None:
    view = np.full((8, 8, 3), (10, 200, 30), dtype=np.uint8)
    frame = draw_frame(Shot(GREY, (view,)), Caption("go"), footer=False)
    inset = np.argwhere((frame == (10, 200, 30)).all(2))
    assert np.ptp(inset, axis=0).tolist() == [34, 34]  # 0.22 of 160 pixels
    y, x = inset.min(0)
    assert tuple(frame[y - 1, x]) == tuple(frame[y, x - 1]) == PAPER


@pytest.mark.parametrize(("success", "wanted", "other"), [(True, GOOD, BAD), (False, BAD, GOOD)])
def test_the_mark_tells_success_from_failure(success: bool, wanted: tuple[int, ...], other: tuple[int, ...]) -> None:
    picture = draw_frame(Shot(GREY), Caption("go", success=success), footer=False)[-160:]
    assert wanted in colours(picture)
    assert other not in colours(picture)


def test_a_running_episode_has_no_mark_and_a_growing_line() -> None:
    frames = [draw_frame(Shot(GREY), Caption("go", tick=tick, total=4), footer=False) for tick in (0, 1, 3)]
    assert all((frame[-160:] == 128).all() for frame in frames)
    line = [int((frame[-162] != INK).any(1).sum()) for frame in frames]
    assert line == [0, 40, 120]


def test_every_word_changes_the_frame_and_long_sentences_stay_inside() -> None:
    short = draw_frame(Shot(GREY), Caption("put the thing there"))
    assert (short != draw_frame(Shot(GREY), Caption("put the thing here"))).any()
    for words in ("a very long sentence " * 8, "unbreakable" * 20, ""):
        header = draw_frame(Shot(GREY), Caption(words), footer=False)[:-160]
        assert (header[:, :3] == INK).all()
        assert (header[:-2, -3:] == INK).all()
        assert (header[:-2] != INK).any()


def test_a_long_sentence_on_a_tiny_picture_is_shortened() -> None:
    tiny = Shot(np.zeros((64, 64, 3), dtype=np.uint8))
    frame = draw_frame(tiny, Caption("please put the small thing down over there " * 4))
    assert frame.shape == draw_frame(tiny, Caption("go")).shape
