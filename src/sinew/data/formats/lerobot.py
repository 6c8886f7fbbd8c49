"""Data sets in the layout of LeRobot v3.0, v2.1 and v2.0, with images as PNG in the tables or as films.

A directory, in v3.0 (``lerobot_v2`` says how the older ones differ)::

    meta/info.json                       rate, features with shapes and names, counts, patterns of paths
    meta/tasks.parquet                   sentence by task_index
    meta/episodes/chunk-*/file-*.parquet one row an episode: length, sentence, where its rows and frames lie
    data/chunk-*/file-*.parquet          one row a frame: state, action, numbers; images where they are no films
    videos/<key>/chunk-*/file-*.mp4      many episodes one after another
    spec.json                            the RobotSpec or a part of it; ours, see docs/formats.md

Read are ``observation.state``, ``action``, images, ``next.success`` (an episode succeeded when it holds anywhere;
without it all count as successes), ``next.reward``, the sentence, and all other observations that are numbers or depth,
as sensors. A frame's number in a film is the integer nearest to
seconds times rate, never a sum of seconds; the seconds in the table only have to agree with frame_index / fps
to half a frame.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.core.types import CameraSpec, RobotSpec, SensorSpec
from sinew.data.episode import Episode
from sinew.data.films import FilmFile, FilmFrames, FilmIndex, describe, look_through
from sinew.data.formats import lerobot_meta, lerobot_v2
from sinew.data.formats.columns import as_reading
from sinew.data.formats.lerobot_meta import (
    REWARD,
    VERSION,
    Row,
    camera_name,
    image_size,
    is_depth,
    is_gray,
    names_of,
    read_info,
    sensor_of,
    size_of,
)
from sinew.data.formats.lerobot_table import Frames, Table
from sinew.data.formats.lerobot_write import write_lerobot
from sinew.data.formats.pictures import Picture, decode, decode_reading, scale
from sinew.data.formats.robot import Facts, match_cameras, partial_of
from sinew.data.formats.source import check_sensors, range_of
from sinew.data.formats.video import read_frames

STATE, ACTION, SUCCESS = "observation.state", "action", "next.success"
NUMBERS = ("timestamp", "frame_index", "episode_index", "task_index")
"""Columns that every table has beside its features, as far as they are read."""
ImagesOf = Callable[[Row, Frames, str, CameraSpec], Any]
"""Returns the images of an episode by one camera."""


class LeRobot:
    """Reads and writes the layout above; see ``Source``."""

    storages: ClassVar[tuple[str, ...]] = ("video", "image")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.info = read_info(path)
        self.features: dict[str, dict[str, Any]] = self.info["features"]
        self.fps = float(self.info["fps"])
        contents = lerobot_meta if self.info["codebase_version"] == VERSION else lerobot_v2
        self.rows = tuple(contents.read_rows(path, self.info))
        pictures = [name for name, item in self.features.items() if item["dtype"] in ("image", "video")]
        self.cameras = {camera_name(name): name for name in sorted(pictures) if not is_depth(self.features[name])}
        sensors = {name: sensor_of(name, item, self.fps) for name, item in self.features.items() if name != STATE}
        self._sensors = {camera_name(name): (name, sensor) for name, sensor in sensors.items() if sensor is not None}
        self.facts = self._facts()
        self.lengths = tuple(row.length for row in self.rows)
        self.instructions = tuple(row.instruction for row in self.rows)
        self.tasks = tuple(row.task for row in self.rows)
        self.judged = SUCCESS in self.features
        apart = lerobot_meta.held_out_of(path, self.info)
        self.held_out = frozenset(number for number, row in enumerate(self.rows) if row.index in apart)
        known = {STATE, ACTION, SUCCESS, REWARD, *NUMBERS, "index", *self.cameras.values()}
        known |= {key for key, _ in self._sensors.values()}
        self.unread = tuple(name for name in self.features if name not in known)
        self._sentences = contents.read_sentences(path)
        self._table: Table | None = None
        self._film: dict[str, tuple[Path, FilmIndex]] = {}  # by camera, the last one that was looked through

    @staticmethod
    def detect(path: Path) -> bool:
        """Return whether a directory holds ``meta/info.json``."""
        return (path / "meta" / "info.json").is_file()

    @staticmethod
    def spec_file(path: Path) -> Path:
        """Return ``spec.json`` in the directory."""
        return path / "spec.json"

    @property
    def files(self) -> tuple[Path, ...]:
        """All files under meta, data and videos."""
        folders = [self.path / name for name in ("meta", "data", "videos")]
        return tuple(file for folder in folders for file in sorted(folder.rglob("*")) if file.is_file())

    def reach(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the smallest and the largest action, (A,) each."""
        rows = {
            f"{self.path / file}: {ACTION}": self._open_table(file).frames(ACTION, floating=True)
            for file in sorted({row.file for row in self.rows})
        }
        return range_of(rows, self.facts.action_size)

    def episode(self, number: int, spec: RobotSpec) -> Episode:
        """Read one episode."""
        return self._episode(number, spec, self._images)

    def films(self, spec: RobotSpec) -> dict[str, tuple[FilmFile, ...]]:
        """Return the films that the images of each camera lie in.

        Raises:
            DataError: a camera's images are no films, or a film is missing, damaged or of another size.
        """
        cameras = match_cameras(str(self.path), list(spec.cameras), list(self.cameras))
        return {name: self._films(self.cameras[cameras[name]]) for name in spec.cameras}

    def linked(self, number: int, spec: RobotSpec) -> Episode:
        """Read one episode except for its images: these stay in the films, as ``FilmFrames`` that look like arrays."""
        return self._episode(number, spec, self._linked_images)

    def _episode(self, number: int, spec: RobotSpec, images_of: ImagesOf) -> Episode:
        row = self.rows[number]
        table = self._open_table(row.file)
        frames = table.episode(row.index, row.length, self.fps)
        self._check_sentence(row, frames, table.where(row.index))
        action = frames.values(ACTION, floating=True)
        state = frames.values(STATE, floating=False) if spec.state else np.zeros((row.length, 0), np.float32)
        cameras = match_cameras(str(self.path), list(spec.cameras), list(self.cameras))
        images = {
            name: images_of(row, frames, self.cameras[cameras[name]], camera) for name, camera in spec.cameras.items()
        }
        known = {name: sensor for name, (_, sensor) in self._sensors.items()}
        check_sensors(str(self.path), spec, known)
        return Episode(
            spec=spec,
            images=images,
            state=state,
            action=action,
            executed=action,
            instruction=row.instruction,
            task=row.task,
            success=bool(frames.values(SUCCESS, floating=False).any()) if self.judged else True,
            source=self.path.resolve().name,
            id=f"episode_{row.index}",
            held_out=number in self.held_out,
            sensors={name: self._readings(row, frames, name, sensor) for name, sensor in spec.sensors.items()},
            reward=frames.values(REWARD, floating=True)[:, 0] if REWARD in self.features else None,
            terminated=row.terminated,
            final_state=None if row.final_state is None else np.array(row.final_state, np.float32),
        )

    def times(self, number: int) -> NDArray[np.float64]:
        """Return the seconds in the table of an episode's rows, (T,)."""
        row = self.rows[number]
        table = self._open_table(row.file)
        rows = np.flatnonzero(table.owners == row.index)
        return table.rows("timestamp", rows)[:, 0].astype(np.float64)

    @staticmethod
    def write(
        path: Path,
        episodes: Iterable[Episode],
        *,
        storage: str = "video",
        on_episode: Callable[[int], None] | None = None,
    ) -> None:
        """Write episodes to a new directory."""
        if storage not in LeRobot.storages:
            raise DataError(f"{storage}: images are stored as {' or '.join(LeRobot.storages)}.")
        write_lerobot(path, episodes, as_video=storage == "video", on_episode=on_episode)

    def _facts(self) -> Facts:
        if ACTION not in self.features:
            raise DataError(f"{self.path}: there is no feature {ACTION}, but {', '.join(self.features)}.")
        names = {name: names_of(self.features[name]) for name in (STATE, ACTION) if name in self.features}
        said: dict[str, Any] = {"hz": self.fps, "embodiment": self.info.get("robot_type") or None}
        said |= {"state": names.get(STATE), "action": names[ACTION]}
        content = {name: value for name, value in said.items() if value is not None}
        sensors = {name: sensor for name, (_, sensor) in self._sensors.items()}
        return Facts(
            action_size=size_of(self.features[ACTION]),
            state_size=size_of(self.features[STATE]) if STATE in self.features else 0,
            cameras={name: image_size(self.path, key, self.features[key]) for name, key in self.cameras.items()},
            said=dataclasses.replace(partial_of(content, f"{self.path}/meta/info.json"), sensors=sensors),
        )

    def _open_table(self, file: str) -> Table:
        """Return the table of a file; the last one is kept, as episodes are read in order."""
        path = self.path / file
        if self._table is None or self._table.path != path:
            pictures = [key for key in self.cameras.values() if self.features[key]["dtype"] == "image"]
            wanted = [ACTION, *NUMBERS]
            wanted += [name for name in (STATE, SUCCESS, REWARD) if name in self.features]
            readings = [key for key, _ in self._sensors.values() if self.features[key]["dtype"] != "video"]
            self._table = Table(path, wanted, [*pictures, *readings])
        return self._table

    def _check_sentence(self, row: Row, frames: Frames, where: str) -> None:
        tasks = frames.values("task_index", floating=False)[:, 0].astype(int)
        other = np.flatnonzero(tasks != tasks[0])
        if len(other):
            raise DataError(
                f"{where}, frame {other[0]}: the instruction changes from {self._sentences.get(int(tasks[0]))!r} to "
                f"{self._sentences.get(int(tasks[other[0]]))!r}. Split the episode there."
            )
        if int(tasks[0]) not in self._sentences:
            raise DataError(f"{where}: its rows name task {int(tasks[0])}, which meta/tasks does not list. Restore it.")
        if self._sentences[int(tasks[0])].strip() != row.instruction:
            raise DataError(
                f"{where}: its rows name task {int(tasks[0])} ({self._sentences.get(int(tasks[0]))!r}), the table of "
                f"episodes says {row.instruction!r}. Restore meta/ and data/ from one recording."
            )

    def _images(self, row: Row, frames: Frames, key: str, camera: CameraSpec) -> NDArray[np.uint8]:
        """Return a camera's images scaled, (T, 3, h, w)."""
        where = f"{self.path}: episode {row.index}: {key}"
        size = image_size(self.path, key, self.features[key])
        out = np.empty((row.length, 3, camera.height, camera.width), np.uint8)
        number = -1
        for number, picture in enumerate(self._pictures_of(row, frames, key, where)):
            if picture.shape[:2] != size:
                raise DataError(
                    f"{where}, frame {number}: is {picture.shape[0]} x {picture.shape[1]} px, meta/info.json says "
                    f"{size[0]} x {size[1]}. Correct the shape, or record again."
                )
            out[number] = scale(picture, (camera.height, camera.width)).transpose(2, 0, 1)
        if number + 1 != row.length:
            raise DataError(f"{where}: {number + 1} images for {row.length} frames.")
        return out

    def _readings(self, row: Row, frames: Frames, name: str, sensor: SensorSpec) -> NDArray[Any]:
        """Return a sensor's readings, (T, ...)."""
        key, found = self._sensors[name]
        where = f"{self.path}: episode {row.index}: {key}"
        kind = self.features[key]["dtype"]
        if kind == "image":
            run = (decode_reading(item, f"{where}, frame {number}") for number, item in enumerate(frames.pictures(key)))
        elif kind == "video":
            pixels = "gray16le" if is_gray(self.features[key]) else "rgb24"
            film, first = row.films[key]
            run = read_frames(self.path / film, first, row.length, fps=self.fps, where=where, pixels=pixels)
        else:
            shape = found.shape if sensor.shape else ()  # single numbers are stored as lists of one
            return as_reading(frames.readings(key, shape), sensor, where)
        pictures = [picture.reshape(*picture.shape[:2], -1) for picture in run]
        odd = [number for number, picture in enumerate(pictures) if picture.shape != tuple(sensor.shape)]
        if odd:
            raise DataError(
                f"{where}, frame {odd[0]}: is of shape {pictures[odd[0]].shape}, {tuple(sensor.shape)} is said. "
                "Correct the shape, or record again."
            )
        return as_reading(np.stack(pictures), sensor, where)

    def _linked_images(self, row: Row, frames: Frames, key: str, camera: CameraSpec) -> FilmFrames:
        del frames
        name, first = row.films[key]
        path = self.path / name
        if key not in self._film or self._film[key][0] != path:
            self._film[key] = path, look_through(path, self.fps)
        index = self._film[key][1]
        packets, rows = index.frames(first, row.length, f"{self.path}: episode {row.index}: {key}")
        places = np.pad(rows, ((0, 0), (1, 0)))
        return FilmFrames([index.file], packets, places, (camera.height, camera.width))

    def _films(self, key: str) -> tuple[FilmFile, ...]:
        if self.features[key]["dtype"] != "video":
            raise DataError(f"{self.path}: {key} lies as pictures in the tables. Leave data.ingest.films out.")
        films = tuple(describe(self.path / name) for name in sorted({row.films[key][0] for row in self.rows}))
        size = image_size(self.path, key, self.features[key])
        for film in films:
            if (film.height, film.width) != size:
                raise DataError(
                    f"{film.path}: is of {film.height} x {film.width} px, meta/info.json says {size[0]} x {size[1]}. "
                    "Correct the shape, or record again."
                )
        return films

    def _pictures_of(self, row: Row, frames: Frames, key: str, where: str) -> Iterator[Picture]:
        if self.features[key]["dtype"] == "image":
            for number, content in enumerate(frames.pictures(key)):
                yield decode(content, f"{where}, frame {number}")
            return
        name, first = row.films[key]
        yield from read_frames(self.path / name, first, row.length, fps=self.fps, where=where)
