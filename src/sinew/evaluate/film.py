"""Films episodes for people: one at a time, or one scene under four sentences side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sinew.core.config import from_dict, to_dict
from sinew.core.errors import DataError
from sinew.core.files import read_json, write_json
from sinew.core.rollout import Outcome, Tick, run_episodes
from sinew.core.types import EnvConfig, NumpyObservation, Policy, RobotSpec, Rows, VecEnv
from sinew.evaluate.encode import jpeg_bytes, mp4_bytes, png_bytes, save, small_gif
from sinew.evaluate.frame import INK, Caption, Shot, draw_frame
from sinew.evaluate.isolate import own_torch

FPS = 12
"""Frames per second of playback."""
HOLD_S, HERO_HOLD_S = 0.8, 2.0
"""Seconds for which the last frame, with its mark, stands still: of one film, and of several side by side."""
HERO_GIF_BYTES = 4_000_000


@runtime_checkable
class Pointing(Protocol):
    """A policy that can say where it thinks the named things are."""

    def points(self) -> Mapping[str, NDArray[np.float32]]:
        """Return (B, 2 or 3) by name, physical units, of the last tick."""
        ...


@runtime_checkable
class Showcase(Protocol):
    """A world that knows one scene in which different sentences lead to different outcomes."""

    def showcase(self, number: int) -> tuple[str, ...]:
        """Return ``number`` state ids that share one scene under different instructions."""
        ...


@dataclass(frozen=True)
class Film:
    """One episode on film, or several side by side.

    Attributes:
        frames: (h, w, 3) uint8 RGB each, even sides; the end is held for a moment.
        fps: frames per second of playback.
        instructions: the sentences that are seen, one per panel.
        outcomes: how each panel ended.
        points: names of what the policy points at; empty where it does not.
        start: what the policy's cameras saw first, where all panels saw the same; else empty.
    """

    frames: tuple[NDArray[np.uint8], ...]
    fps: int
    instructions: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    points: tuple[str, ...] = ()
    start: tuple[NDArray[np.uint8], ...] = ()

    def save_mp4(self, path: Path) -> Path:
        """Write the film as H.264 and return the path."""
        return save(path, mp4_bytes(self.frames, self.fps))

    def save_gif(self, path: Path, width: int, *, limit: int = HERO_GIF_BYTES) -> Path:
        """Write a GIF of at most ``limit`` bytes, ``width`` pixels wide or less if it must, and return the path."""
        return save(path, small_gif(self.frames, self.fps, width=width, limit=limit))

    def save_png(self, path: Path) -> Path:
        """Write the last frame and return the path."""
        return save(path, png_bytes(self.frames[-1]))

    def poster(self) -> bytes:
        """Return the last frame as PNG bytes."""
        return png_bytes(self.frames[-1])

    def stand_in(self, width: int = 480) -> bytes:
        """Return the last frame as a small JPEG, to be shown until the film plays."""
        return jpeg_bytes(self.frames[-1], width=width)


@dataclass(frozen=True)
class FilmJob:
    """What a worker process needs to make one film.

    Attributes:
        env: the world.
        policy: ``expert``, or the directory of a saved policy.
        state_ids: where it begins; several are filmed side by side.
        path: of the MP4; a JPEG stands beside it, and for several ids a GIF and a PNG, too.
        size: side of each picture [px].
        columns: of the grid, for several ids.
    """

    env: EnvConfig
    policy: str
    state_ids: tuple[str, ...]
    path: Path
    size: int = 480
    columns: int = 2


@dataclass(frozen=True)
class Clip:
    """A film on disk, with what a page says about it.

    Attributes:
        path: of the MP4. poster: of the JPEG that stands in for it.
        instructions: the sentences, one per panel. outcomes: how each ended.
        points: names of what the policy points at; empty where it does not.
        one_scene: all panels began with the same sight.
    """

    path: Path
    poster: Path
    instructions: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    points: tuple[str, ...] = ()
    one_scene: bool = True


class _Camera:
    """A policy that acts as the one it wraps and photographs every tick of row 0 on the way."""

    def __init__(self, env: VecEnv, policy: Policy, size: int) -> None:
        self.env, self.policy, self.size = env, policy, size
        self.shots: list[Shot] = []
        self.instruction = ""

    @property
    def spec(self) -> RobotSpec:
        return self.policy.spec

    def reset(self, rows: Rows = None) -> None:
        self.policy.reset(rows)

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        actions = self.policy.select_action(obs, rows)
        self.instruction = obs.instruction[0]
        self.shoot(obs, pointed_at(self.env, self.policy, obs))
        return actions

    def shoot(self, obs: NumpyObservation, points: Mapping[str, tuple[float, float]]) -> None:
        views = tuple(np.ascontiguousarray(images[0, -1].transpose(1, 2, 0)) for images in obs.images.values())
        self.shots.append(Shot(self.env.picture(0, self.size), views, points))


def pointed_at(env: VecEnv, policy: Policy, obs: NumpyObservation) -> dict[str, tuple[float, float]]:
    """Return where the policy points in row 0, (x, y) in 0 .. 1 of the picture, by name.

    A point of which the world says that the sentence names no such thing (NaN in ``privileged``) is left out.
    """
    if not isinstance(policy, Pointing):
        return {}
    found: dict[str, tuple[float, float]] = {}
    for name, points in policy.points().items():
        truth = obs.privileged.get(name)
        if truth is not None and np.isnan(truth[0]).any():
            continue
        x, y = env.project(0, np.asarray(points[:1], dtype=np.float32))[0]
        if np.isfinite(x) and np.isfinite(y):
            found[name] = (float(x), float(y))
    return found


def film_episode(
    env: VecEnv,
    policy: Policy,
    state_id: str,
    *,
    size: int = 480,
    stride: int = 1,
    footer: bool = True,
    judged: bool = True,
) -> Film:
    """Run one episode in row 0 and film it.

    Args:
        env: the world; row 0 is reset.
        policy: acts; where it has ``points``, they are drawn.
        state_id: where the episode begins.
        size: side of the picture [px].
        stride: ticks per frame.
        footer: whether legend, clock and note stand below the picture.
        judged: whether the world can tell success; if not, the ending bears no mark.

    Returns:
        One frame per ``stride`` ticks and the ending, held for ``HOLD_S`` seconds with the last prediction on it.
    """
    camera = _Camera(env, policy, size)
    last: list[NumpyObservation] = []

    def remember(tick: Tick) -> None:
        last[:] = [tick.result.obs]

    outcome = run_episodes(env, camera, (state_id,), watch=remember)[0]
    camera.shoot(last[0], camera.shots[-1].points)
    hz = env.spec.hz
    frames: list[NDArray[np.uint8]] = []
    for tick in range(0, outcome.ticks, stride):
        caption = Caption(camera.instruction, tick, outcome.ticks, tick / hz)
        frames.append(draw_frame(camera.shots[tick], caption, footer=footer))
    success = outcome.success if judged else None
    ending = Caption(camera.instruction, outcome.ticks, outcome.ticks, outcome.ticks / hz, success, outcome.note)
    frames += [draw_frame(camera.shots[-1], ending, footer=footer)] * (1 + round(HOLD_S * FPS))
    points = tuple(dict.fromkeys(name for shot in camera.shots for name in shot.points))
    return Film(tuple(frames), FPS, (camera.instruction,), (outcome,), points, camera.shots[0].views)


def side_by_side(films: Sequence[Film], columns: int) -> Film:
    """Return the films in a grid, in sync; shorter ones stand still at their end.

    Args:
        films: all of one frame size and rate.
        columns: of the grid; rows are filled from the left.

    Raises:
        DataError: no film, or films of different size.
    """
    if not films or len({(film.frames[0].shape, film.fps) for film in films}) != 1:
        raise DataError("Films stand side by side only if there is one at least and all have one frame size and rate.")
    height, width = films[0].frames[0].shape[:2]
    gap = max(2 * (width // 96), 2)
    rows = -(-len(films) // columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, 3)
    frames: list[NDArray[np.uint8]] = []
    for number in range(max(len(film.frames) for film in films)):
        canvas = np.full(shape, INK, dtype=np.uint8)
        for place, film in enumerate(films):
            top, left = place // columns * (height + gap), place % columns * (width + gap)
            canvas[top : top + height, left : left + width] = film.frames[min(number, len(film.frames) - 1)]
        frames.append(canvas)
    instructions = tuple(sentence for film in films for sentence in film.instructions)
    outcomes = tuple(outcome for film in films for outcome in film.outcomes)
    points = tuple(dict.fromkeys(name for film in films for name in film.points))
    start = films[0].start if all(_same(film.start, films[0].start) for film in films) else ()
    return Film(tuple(frames), films[0].fps, instructions, outcomes, points, start)


def hero_states(env: VecEnv, number: int = 4) -> tuple[str, ...]:
    """Return state ids for a hero: the world's own showcase, else the first seen state of each task."""
    if isinstance(env, Showcase):
        return env.showcase(number)
    return tuple(env.states("seen", task, 1)[0] for task in env.tasks[:number])


def hero(
    env: VecEnv, policy: Policy, state_ids: Sequence[str], *, size: int = 480, columns: int = 2, stride: int = 1
) -> Film:
    """Film one scene under several sentences, side by side and in sync, with a longer look at the end.

    Args:
        env: the world; row 0 is reset for each.
        policy: acts in all of them.
        state_ids: one scene, different instructions, as ``hero_states`` gives them.
        size: side of each picture [px].
        columns: 2 for a square of four, 4 for a row.
        stride: ticks per frame.
    """
    films = [film_episode(env, policy, state_id, size=size, stride=stride, footer=False) for state_id in state_ids]
    film = side_by_side(films, columns)
    longer = film.frames[-1:] * round((HERO_HOLD_S - HOLD_S) * FPS)
    return dataclasses.replace(film, frames=film.frames + longer)


def film_job(job: FilmJob) -> Clip:
    """Make one film, in a worker process or here; what is written is named in the result.

    The record of it stands beside the film as JSON, for ``load_clip``.

    Raises:
        SinewError: the policy cannot be read or the film cannot be written.
    """
    env = job.env.build(1)
    with own_torch((0,), threads=1):
        policy = _load_policy(job)
        if len(job.state_ids) == 1:
            film = film_episode(env, policy, job.state_ids[0], size=job.size)
        else:
            film = hero(env, policy, job.state_ids, size=job.size, columns=job.columns)
    if len(job.state_ids) > 1:
        film.save_gif(job.path.with_suffix(".gif"), width=720)
        film.save_png(job.path.with_suffix(".png"))
    poster = save(job.path.with_suffix(".jpg"), film.stand_in(width=480 * min(len(job.state_ids), 2)))
    clip = Clip(film.save_mp4(job.path), poster, film.instructions, film.outcomes, film.points, bool(film.start))
    write_json(job.path.with_suffix(".json"), {**to_dict(clip), "path": job.path.name, "poster": poster.name})
    return clip


def load_clip(path: Path) -> Clip:
    """Return the record of the film ``path`` that ``film_job`` made, wherever its folder stands by now.

    Raises:
        DataError: there is none.
        ConfigError: it is broken.
    """
    source = path.with_suffix(".json")
    clip = from_dict(Clip, read_json(source), str(source))
    return dataclasses.replace(clip, path=path.parent / clip.path, poster=path.parent / clip.poster)


def _same(one: Sequence[NDArray[np.uint8]], other: Sequence[NDArray[np.uint8]]) -> bool:
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def _load_policy(job: FilmJob) -> Policy:
    if job.policy == "expert":
        return job.env.expert()
    from sinew.models.policy import VLAPolicy

    return VLAPolicy.from_pretrained(job.policy, device="cpu")
