from __future__ import annotations

import dataclasses
import io
import pickle
from collections.abc import Mapping
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sinew.core.errors import CheckpointError, DataError
from sinew.core.rollout import run_episodes
from sinew.core.types import NumpyObservation, Rows
from sinew.evaluate.film import (
    FPS,
    HERO_HOLD_S,
    HOLD_S,
    FilmJob,
    film_episode,
    film_job,
    hero,
    hero_states,
    load_clip,
    pointed_at,
    side_by_side,
)
from sinew.evaluate.frame import BAD, GOOD, POINT_COLOURS, frame_size
from toy import ToyConfig, ToyExpert, ToyVecEnv

HELD = 1 + round(HOLD_S * FPS)
CONFIG = ToyConfig(size=16)


class PointingExpert(ToyExpert):
    """Acts as the expert and points 0.1 m beside the goal and at itself."""

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        self.said = {"goal": obs.privileged["goal"] + np.float32(0.1), "self": obs.state[:, -1, :1]}
        return super().select_action(obs, rows)

    def points(self) -> Mapping[str, NDArray[np.float32]]:
        return self.said


class Stage(ToyVecEnv):
    """A line that offers a scene of its own choice."""

    def showcase(self, number: int) -> tuple[str, ...]:
        return tuple(f"seen/left/7{variant}" for variant in ("", "~other", "~wrong", "~silent")[:number])


def centre_of(frame: np.ndarray, colour: tuple[int, ...]) -> np.ndarray:
    """Return the middle of what is exactly of this colour, (x, y) in 0 .. 1 of the picture."""
    header = frame_size(160, footer=False)[1] - 160
    found = np.argwhere((frame[header : header + 160] == colour).all(2))
    return (found.mean(0)[::-1] + 0.5) / 160


def test_a_film_has_a_frame_per_tick_and_holds_its_end() -> None:
    env = CONFIG.build(1)
    film = film_episode(env, CONFIG.expert(), "seen/right/0", size=160)
    assert film.outcomes == run_episodes(env, CONFIG.expert(), ("seen/right/0",))
    assert film.instructions == ("go right",)
    assert len(film.frames) == film.outcomes[0].ticks + HELD
    width, height = frame_size(160)
    assert {frame.shape for frame in film.frames} == {(height, width, 3)}
    assert all((frame == film.frames[-1]).all() for frame in film.frames[-HELD:])
    assert (film.frames[0] != film.frames[1]).any()


def test_a_stride_keeps_every_so_many_ticks() -> None:
    film = film_episode(CONFIG.build(1), CONFIG.expert(), "seen/right/0", size=160, stride=2)
    assert len(film.frames) == -(-film.outcomes[0].ticks // 2) + HELD


def test_rings_lie_where_the_world_projects_the_predicted_points() -> None:
    env, policy = CONFIG.build(1), PointingExpert(CONFIG)
    frame = film_episode(env, policy, "seen/right/0", size=160).frames[0]
    obs = env.reset(("seen/right/0",))
    policy.select_action(obs)
    for colour, points in zip(POINT_COLOURS, policy.points().values(), strict=False):
        assert centre_of(frame, colour) == pytest.approx(env.project(0, points)[0], abs=0.01)


def test_a_point_that_the_sentence_does_not_name_is_left_out() -> None:
    env, policy = CONFIG.build(1), PointingExpert(CONFIG)
    obs = env.reset(("seen/right/0",))
    policy.select_action(obs)
    assert set(pointed_at(env, policy, obs)) == {"goal", "self"}
    unnamed = dataclasses.replace(obs, privileged={"goal": np.full_like(obs.privileged["goal"], np.nan)})
    assert set(pointed_at(env, policy, unnamed)) == {"self"}
    assert pointed_at(env, CONFIG.expert(), obs) == {}


@pytest.mark.parametrize(("state_id", "colour"), [("seen/left/1", GOOD), ("seen/left/1~wrong", BAD)])
def test_the_end_says_whether_the_judge_agrees(state_id: str, colour: tuple[int, ...]) -> None:
    film = film_episode(CONFIG.build(1), CONFIG.expert(), state_id, size=160)
    assert film.outcomes[0].success is (colour == GOOD)
    assert (film.frames[-1] == colour).all(2).any()
    assert not (film.frames[0] == GOOD).all(2).any()
    assert not (film.frames[0] == BAD).all(2).any()


def test_panels_run_in_sync_and_wait_for_the_longest() -> None:
    env = CONFIG.build(1)
    ids = ("seen/left/1", "seen/left/1~other", "seen/left/1~wrong")
    parts = [film_episode(env, CONFIG.expert(), state_id, size=64, footer=False) for state_id in ids]
    together = hero(env, CONFIG.expert(), ids, size=64)
    longer = round((HERO_HOLD_S - HOLD_S) * FPS)
    assert len(together.frames) == max(len(part.frames) for part in parts) + longer
    assert together.instructions == ("go left", "go right", "go right")
    assert together.outcomes == tuple(part.outcomes[0] for part in parts)
    assert together.start
    height, width = parts[0].frames[0].shape[:2]
    for number in (0, 3, len(together.frames) - 1):
        shown = together.frames[number]
        for part, picture in zip(
            parts, (shown[:height, :width], shown[:height, -width:], shown[-height:, :width]), strict=True
        ):
            assert (picture == part.frames[min(number, len(part.frames) - 1)]).all()
    assert side_by_side(parts, 3).frames[0].shape[0] == height


def test_panels_of_different_scenes_are_not_called_one_scene() -> None:
    env = CONFIG.build(1)
    assert hero(env, CONFIG.expert(), ("seen/left/1", "seen/right/4"), size=64).start == ()
    assert hero(env, PointingExpert(CONFIG), ("seen/left/1", "seen/right/4"), size=64).points == ("goal", "self")


def test_films_of_different_size_do_not_stand_side_by_side() -> None:
    env = CONFIG.build(1)
    small, large = (film_episode(env, CONFIG.expert(), "seen/left/1", size=size) for size in (64, 80))
    with pytest.raises(DataError, match="one frame size"):
        side_by_side((small, large), 2)


def test_a_hero_shows_what_the_world_offers_or_one_state_per_task() -> None:
    assert hero_states(Stage(CONFIG, 1)) == (
        "seen/left/7",
        "seen/left/7~other",
        "seen/left/7~wrong",
        "seen/left/7~silent",
    )
    assert hero_states(CONFIG.build(1)) == ("seen/left/0", "seen/right/0")


def test_a_film_job_travels_to_a_worker_and_leaves_a_film_with_its_record(tmp_path: Path) -> None:
    job = pickle.loads(pickle.dumps(FilmJob(CONFIG, "expert", ("seen/left/1",), tmp_path / "one.mp4", size=96)))
    clip = film_job(job)
    with av.open(str(clip.path)) as container:
        num_frames = sum(1 for _ in container.decode(video=0))
    assert num_frames == clip.outcomes[0].ticks + HELD
    with Image.open(clip.poster) as poster:
        assert poster.format == "JPEG"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.jpg", "one.json", "one.mp4"]
    assert load_clip(clip.path) == clip
    moved = tmp_path.rename(tmp_path.with_name("elsewhere"))
    assert load_clip(moved / "one.mp4").poster == moved / "one.jpg"


def test_a_hero_job_also_leaves_a_small_gif_and_a_still(tmp_path: Path) -> None:
    job = FilmJob(CONFIG, "expert", hero_states(Stage(CONFIG, 1)), tmp_path / "hero.mp4", size=160)
    clip = film_job(job)
    assert [outcome.success for outcome in clip.outcomes] == [True, True, False, True]
    gif = (tmp_path / "hero.gif").read_bytes()
    assert len(gif) <= 4_000_000
    with Image.open(io.BytesIO(gif)) as image:
        assert 480 <= image.width <= 720
    width, height = frame_size(160, footer=False)
    with Image.open(tmp_path / "hero.png") as still:
        assert still.size == (2 * width + 2, 2 * height + 2)


def test_a_directory_that_holds_no_policy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        film_job(FilmJob(CONFIG, str(tmp_path / "none"), ("seen/left/1",), tmp_path / "one.mp4"))
    assert list(tmp_path.iterdir()) == []
