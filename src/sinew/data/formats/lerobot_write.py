"""Writing episodes as a LeRobot v3.0 data set, so that the library of that name reads it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.config import to_dict
from sinew.core.errors import DataError, require
from sinew.core.files import new_directory, write_json
from sinew.core.spec import check_spec
from sinew.core.types import RobotSpec
from sinew.data.episode import Episode
from sinew.data.formats.lerobot_meta import FINAL, NAMED, OBSERVATION, REWARD, TERMINATED, VERSION
from sinew.data.formats.lerobot_stats import histogram, of_histogram, of_rows
from sinew.data.formats.pictures import encode
from sinew.data.formats.source import check_tellable, check_writable
from sinew.data.formats.video import GROUP, Film

PER_CHUNK = 1000
DATA_MB, VIDEO_MB = 100, 200
"""Size of a file after which the next one is begun."""
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"


def write_lerobot(
    path: Path, episodes: Iterable[Episode], *, as_video: bool, on_episode: Callable[[int], None] | None = None
) -> None:
    """Write a new data set; see ``Source.write``."""
    require("pyarrow", extra="formats")
    check_writable(path)
    with new_directory(path) as root, ExitStack() as open_files:
        writer: _Writer | None = None
        for number, episode in enumerate(episodes):
            check_tellable(episode)
            writer = writer or open_files.enter_context(_Writer(root, episode.spec, as_video=as_video))
            writer.add(episode)
            if on_episode is not None:
                on_episode(number + 1)
        if writer is None:
            raise DataError(f"{path}: there are no episodes to write.")
        open_files.close()
        writer.finish()


class _Place:
    """Which chunk and file is written to, and when the next begins."""

    def __init__(self, limit_mb: int) -> None:
        self.limit, self.number = limit_mb * 1e6, 0

    @property
    def parts(self) -> dict[str, int]:
        return {"chunk_index": self.number // PER_CHUNK, "file_index": self.number % PER_CHUNK}


class _Writer:
    """A data set that grows by episodes."""

    def __init__(self, root: Path, spec: RobotSpec, *, as_video: bool) -> None:
        self.root, self.spec, self.as_video = root, spec, as_video
        self.cameras = {name: f"observation.images.{name}" for name in sorted(spec.cameras)}
        self.sensors = {name: f"{OBSERVATION}{name}" for name in sorted(spec.sensors)}
        if "observation.state" in self.sensors.values():
            raise DataError("a sensor is called state, which is another column in LeRobot's layout. Rename it.")
        if as_video:
            _check_even(spec)
        self.rows: list[dict[str, Any]] = []
        self.numbers: list[dict[str, NDArray[Any]]] = []
        self.histograms = {key: np.zeros((3, 256), np.int64) for key in self.cameras.values()}
        self.tasks: dict[str, int] = {}
        self.num_frames = 0
        self.data = _Place(DATA_MB)
        self.videos = {key: _Place(VIDEO_MB) for key in self.cameras.values()}
        self.table: Any = None
        self.films: dict[str, Film] = {}

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as stack:
            for film in self.films.values():
                stack.callback(film.close)
            if self.table is not None:
                stack.callback(self.table.close)

    def add(self, episode: Episode) -> None:
        """Append an episode."""
        check_spec(self.spec, episode.spec, sides=("first episode", f"episode {episode.id}"))
        task = self.tasks.setdefault(episode.instruction, len(self.tasks))
        numbers = self._numbers(episode, task)
        row: dict[str, Any] = {
            "episode_index": len(self.rows),
            "tasks": [episode.instruction],
            "length": episode.num_frames,
            NAMED: episode.task,
            TERMINATED: episode.terminated,
        }
        if episode.final_state is not None:
            row[FINAL] = episode.final_state.tolist()
        if self.numbers and (REWARD in self.numbers[0]) != (REWARD in numbers):
            raise DataError(f"episode {episode.id}: some episodes have rewards and others none. Keep them apart.")
        images: dict[str, list[dict[str, Any]]] = {}
        for name, key in self.cameras.items():
            counts = np.zeros((3, 256), np.int64)
            pictures = episode.images[name].transpose(0, 2, 3, 1)
            for picture in pictures:
                counts += histogram(picture)
            self.histograms[key] += counts
            row |= _flat(key, of_histogram(counts, len(pictures)))
            if self.as_video:
                row |= self._film(key, pictures)
            else:
                images[key] = [
                    {"bytes": encode(picture), "path": f"frame-{number:06d}.png"}
                    for number, picture in enumerate(pictures)
                ]
        readings = {key: episode.sensors[name] for name, key in self.sensors.items()}
        row |= self._append(numbers, readings, images)
        numbers |= {key: values for key, values in readings.items() if values.ndim == 2}
        for key, values in numbers.items():
            row |= _flat(key, of_rows(values))
        self.rows.append(row)
        self.numbers.append(numbers)
        self.num_frames += episode.num_frames

    def finish(self) -> None:
        """Write everything under meta/."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        (self.root / EPISODES).parent.mkdir(parents=True)
        where = {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        blank: dict[str, Any] = dict.fromkeys({name: None for row in self.rows for name in row})
        pq.write_table(pa.Table.from_pylist([blank | row | where for row in self.rows]), self.root / EPISODES)
        pq.write_table(_task_table(self.tasks), self.root / "meta" / "tasks.parquet")
        stats = {key: of_histogram(counts, self.num_frames) for key, counts in self.histograms.items()}
        stats |= {key: of_rows(np.concatenate([item[key] for item in self.numbers])) for key in self.numbers[0]}
        write_json(self.root / "meta" / "stats.json", stats)
        write_json(self.root / "meta" / "info.json", self._info())
        write_json(self.root / "spec.json", to_dict(self.spec))

    def _numbers(self, episode: Episode, task: int) -> dict[str, NDArray[Any]]:
        """Return the columns of an episode that are not images, (T, n) each."""
        frames = np.arange(episode.num_frames)[:, None]
        columns: dict[str, NDArray[Any]] = {}
        if episode.spec.state:
            columns["observation.state"] = episode.state
        if episode.reward is not None:
            columns[REWARD] = episode.reward[:, None]
        return columns | {
            "action": episode.action,
            "next.success": (frames == len(frames) - 1) & episode.success,
            "timestamp": (frames / self.spec.hz).astype(np.float32),
            "frame_index": frames,
            "episode_index": np.full_like(frames, len(self.rows)),
            "index": self.num_frames + frames,
            "task_index": np.full_like(frames, task),
        }

    def _append(
        self,
        numbers: dict[str, NDArray[Any]],
        readings: dict[str, NDArray[Any]],
        images: dict[str, list[dict[str, Any]]],
    ) -> dict[str, Any]:
        """Write rows of frames and return where they lie."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        columns: dict[str, Any] = {key: pa.array(items, picture) for key, items in images.items()}
        columns |= {key: _column(values) for key, values in numbers.items()}
        columns |= {key: _nested(values) for key, values in readings.items()}
        table = pa.table(columns)
        path = self.root / DATA.format(**self.data.parts)
        if self.table is not None and path.stat().st_size > self.data.limit:
            self.table.close()
            self.table, self.data.number = None, self.data.number + 1
            path = self.root / DATA.format(**self.data.parts)
        if self.table is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.table = pq.ParquetWriter(path, table.schema)
        self.table.write_table(table)
        last = self.num_frames + table.num_rows
        place = {f"data/{name}": number for name, number in self.data.parts.items()}
        return place | {"dataset_from_index": self.num_frames, "dataset_to_index": last}

    def _film(self, key: str, pictures: NDArray[np.uint8]) -> dict[str, Any]:
        """Append frames to a camera's film and return where they lie."""
        film, place = self.films.get(key), self.videos[key]
        if film is not None and film.num_bytes > place.limit:
            self.films.pop(key).close()
            film, place.number = None, place.number + 1
        if film is None:
            path = self.root / VIDEO.format(video_key=key, **place.parts)
            film = self.films[key] = Film(path, (pictures.shape[1], pictures.shape[2]), self.spec.hz)
        first = film.num_frames
        for picture in pictures:
            film.add(picture)
        found: dict[str, Any] = {f"videos/{key}/{name}": number for name, number in place.parts.items()}
        found[f"videos/{key}/from_timestamp"] = first / self.spec.hz
        found[f"videos/{key}/to_timestamp"] = film.num_frames / self.spec.hz
        return found

    def _info(self) -> dict[str, Any]:
        return {
            "codebase_version": VERSION,
            "robot_type": self.spec.embodiment,
            "total_episodes": len(self.rows),
            "total_frames": self.num_frames,
            "total_tasks": len(self.tasks),
            "chunks_size": PER_CHUNK,
            "data_files_size_in_mb": DATA_MB,
            "video_files_size_in_mb": VIDEO_MB,
            "fps": _rate(self.spec.hz),
            "splits": {"train": f"0:{len(self.rows)}"},
            "data_path": DATA,
            "video_path": VIDEO if self.as_video else None,
            "features": dict(self._features()),
        }

    def _features(self) -> Iterator[tuple[str, dict[str, Any]]]:
        kind = "video" if self.as_video else "image"
        for name, key in self.cameras.items():
            camera = self.spec.cameras[name]
            shape = [camera.height, camera.width, 3]
            feature: dict[str, Any] = {"dtype": kind, "shape": shape, "names": ["height", "width", "channels"]}
            yield key, feature | ({"info": _film_info(shape, self.spec.hz)} if self.as_video else {})
        names = {"observation.state": list(self.spec.state), "action": list(self.spec.action)}
        for key, values in self.numbers[0].items():
            if key not in self.sensors.values():
                kind = "float32" if key in names else str(values.dtype)
                yield key, {"dtype": kind, "shape": [values.shape[1]], "names": names.get(key)}
        for name, key in self.sensors.items():
            sensor = self.spec.sensors[name]
            yield key, {"dtype": sensor.dtype, "shape": list(sensor.shape) or [1], "names": None}


def _column(values: NDArray[Any]) -> Any:  # noqa: ANN401  (pyarrow has no types)
    """Return numbers as lists of a fixed length, single ones plain: as the library stores them."""
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return flat if values.shape[1] == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _nested(values: NDArray[Any]) -> Any:  # noqa: ANN401
    """Return readings as lists of lists, single ones plain: as the library stores arrays of several dimensions."""
    import pyarrow as pa

    if values.ndim < 3:
        return _column(values.reshape(len(values), -1))
    nested = pa.array(np.ascontiguousarray(values).reshape(-1))
    for depth in range(values.ndim - 1, 0, -1):
        offsets = np.arange(int(np.prod(values.shape[:depth])) + 1) * values.shape[depth]
        kind, lists = (np.int32, pa.ListArray) if values.size < 2**31 else (np.int64, pa.LargeListArray)
        nested = lists.from_arrays(pa.array(offsets.astype(kind)), nested)
    return nested


def _task_table(tasks: dict[str, int]) -> Any:  # noqa: ANN401
    """Return the sentences as pandas writes them: the text is the index, which the library looks up."""
    import pyarrow as pa

    index = "__index_level_0__"

    def column(name: str | None, field: str, kind: str, stored: str) -> dict[str, Any]:
        return {"name": name, "field_name": field, "pandas_type": kind, "numpy_type": stored, "metadata": None}

    pandas = {
        "index_columns": [index],
        "column_indexes": [],
        "columns": [column("task_index", "task_index", "int64", "int64"), column(None, index, "unicode", "object")],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.2.0",
    }
    table = pa.table({"task_index": pa.array(list(tasks.values()), pa.int64()), index: pa.array(list(tasks))})
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _flat(key: str, stats: dict[str, Any]) -> dict[str, Any]:
    return {f"stats/{key}/{name}": value for name, value in stats.items()}


def _film_info(shape: list[int], hz: float) -> dict[str, Any]:
    return {
        "video.height": shape[0],
        "video.width": shape[1],
        "video.codec": "h264",
        "video.pix_fmt": "yuv420p",
        "video.is_depth_map": False,
        "video.fps": _rate(hz),
        "video.channels": 3,
        "video.g": GROUP,
        "has_audio": False,
    }


def _rate(hz: float) -> int | float:
    return int(hz) if float(hz).is_integer() else hz


def _check_even(spec: RobotSpec) -> None:
    odd = [name for name, camera in spec.cameras.items() if camera.height % 2 or camera.width % 2]
    if odd:
        camera = spec.cameras[odd[0]]
        raise DataError(
            f"camera {odd[0]}: images of {camera.height} x {camera.width} px cannot become H.264, its sides are even. "
            "Ask for image storage, or scale the images."
        )
