"""A directory of episodes as ``EpisodeRecorder`` writes them; the layout is in ``data/recording.py``.

A file more or less is an episode more or less: to leave one out, remove its file; to join recordings of the same
robot, put their files into one directory under different numbers. The label of a frame is what should be done,
``executed`` what was sent; auxiliary labels, sensors and rewards are kept. An episode of which nobody said how it went
counts as no success.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import ConfigError, DataError
from sinew.core.files import new_directory
from sinew.core.spec import check_spec
from sinew.core.types import RobotSpec
from sinew.data.episode import Episode
from sinew.data.formats.pictures import scale
from sinew.data.formats.robot import Facts, PartialSpec, match_cameras, partial_of
from sinew.data.formats.source import check_tellable, check_writable, range_of
from sinew.data.recorder import EpisodeRecorder, Frame
from sinew.data.recording import DONE, TIME, Beginning, Ending, episode_files, read_ends, read_frames

KNOWN = {"header", TIME, "state", "action", "executed", "reward"}
KINDS = ("images", "targets", "sensors")


class Recording:
    """Reads and writes the layout above; see ``Source``."""

    storages: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(self, path: Path) -> None:
        self.path = path
        found = episode_files(path)
        self._files = tuple(file for file in found.values() if file.suffix == DONE)
        unfinished = [file.name for file in found.values() if file.suffix != DONE]
        if not self._files:
            raise DataError(
                f"{path}: holds no finished episode, only {', '.join(unfinished[:3])}. If nothing is recorded there "
                f"now, save its whole frames: sinew data recover {path}"
            )
        ends = [read_ends(file)[:2] for file in self._files]
        self._beginnings: tuple[Beginning, ...] = tuple(beginning for beginning, _ in ends)
        self._endings: tuple[Ending, ...] = tuple(ending for _, ending in ends)
        self.facts = self._facts()
        self.lengths = tuple(ending.frames for ending in self._endings)
        self.instructions = tuple(item.instruction for item in self._beginnings)
        self.tasks = tuple(item.task for item in self._beginnings)
        self.judged = True
        strange = [name for name, _, _ in self._beginnings[0].columns if not _known(name)]
        self.unread = (*strange, *(f"{name} (unfinished)" for name in unfinished))

    @staticmethod
    def detect(path: Path) -> bool:
        """Return whether a directory holds files named like recorded episodes."""
        return path.is_dir() and bool(episode_files(path))

    @staticmethod
    def spec_file(path: Path) -> Path:
        """Return ``spec.json`` in the directory, with which the owner may add what the recording did not say."""
        return path / "spec.json"

    @property
    def files(self) -> tuple[Path, ...]:
        """The finished episodes' files."""
        return self._files

    def reach(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the smallest and the largest action, (A,) each."""
        rows = {f"{file}: action": np.ascontiguousarray(read_frames(file)["action"]) for file in self._files}
        return range_of(rows, self.facts.action_size)

    def times(self, number: int) -> NDArray[np.float64]:
        """Return when the frames of an episode were written, (T,) [s since the first]."""
        return read_frames(self._files[number])[TIME] / 1e9

    def episode(self, number: int, spec: RobotSpec) -> Episode:
        """Read one episode."""
        file, beginning, ending = self._files[number], self._beginnings[number], self._endings[number]
        cameras = match_cameras(str(self.path), list(spec.cameras), list(self.facts.cameras))
        frames = read_frames(file)

        def column(name: str) -> NDArray[Any]:
            return np.ascontiguousarray(frames[name])

        sizes = {name: (camera.height, camera.width) for name, camera in spec.cameras.items()}
        names = [name for name, _, _ in beginning.columns]
        return Episode(
            spec=spec,
            images={name: _scaled(column(f"images.{key}"), sizes[name]) for name, key in cameras.items()},
            state=column("state") if spec.state else np.zeros((len(frames), 0), np.float32),
            action=column("action"),
            executed=column("executed"),
            instruction=beginning.instruction,
            task=beginning.task,
            success=bool(ending.success),
            targets={name.partition(".")[2]: column(name) for name in names if name.startswith("targets.")},
            source=beginning.source,
            id=beginning.id,
            sensors={name: column(f"sensors.{name}") for name in spec.sensors},
            reward=column("reward") if "reward" in names else None,
            terminated=ending.terminated,
            final_state=None if ending.final_state is None else np.array(ending.final_state, np.float32),
        )

    @staticmethod
    def write(
        path: Path,
        episodes: Iterable[Episode],
        *,
        storage: str = "image",
        on_episode: Callable[[int], None] | None = None,
    ) -> None:
        """Write episodes to a new directory."""
        if storage not in Recording.storages:
            raise DataError(f"{storage}: a recording holds images as they are; ask for image storage, or for lerobot.")
        check_writable(path)
        with new_directory(path) as temporary:
            recorder: EpisodeRecorder | None = None
            for number, episode in enumerate(episodes):
                check_tellable(episode)
                recorder = recorder or EpisodeRecorder(temporary, episode.spec)
                check_spec(recorder.spec, episode.spec, sides=("first episode", f"episode {episode.id}"))
                _write_episode(recorder, episode)
                if on_episode is not None:
                    on_episode(number + 1)
            if recorder is None:
                raise DataError(f"{path}: there are no episodes to write.")
            recorder.close()

    def _facts(self) -> Facts:
        """Return what the first episode says, which all must say alike."""
        first = self._beginnings[0]
        for file, item in zip(self._files, self._beginnings, strict=True):
            if (item.spec, item.columns) != (first.spec, first.columns):
                raise DataError(
                    f"{file}: was recorded with another robot, other labels or another reward than "
                    f"{self._files[0].name}. Keep one directory for each."
                )
        try:
            said: PartialSpec = partial_of(dict(first.spec), f"{self._files[0]}: the robot in it")
        except ConfigError as error:
            raise DataError(str(error)) from error
        shapes = {name: shape for name, _, shape in first.columns}
        wanted = {"action", "executed", "state"}
        if wanted - set(shapes) or any(len(shapes[name]) != 1 for name in wanted):
            raise DataError(f"{self._files[0]}: state, action and executed are wanted, one row of numbers each.")
        images = {name.partition(".")[2]: shape for name, shape in shapes.items() if name.startswith("images.")}
        return Facts(
            action_size=shapes["action"][0],
            state_size=shapes["state"][0],
            cameras={name: (shape[1], shape[2]) for name, shape in images.items()},
            said=said,
        )


def _known(name: str) -> bool:
    return name in KNOWN or name.partition(".")[0] in KINDS


def _scaled(images: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return images (T, 3, h, w) at another size."""
    if images.shape[2:] == size:
        return images
    return np.stack([scale(image.transpose(1, 2, 0), size).transpose(2, 0, 1) for image in images])


def _write_episode(recorder: EpisodeRecorder, episode: Episode) -> None:
    recorder.begin(instruction=episode.instruction, task=episode.task, id=episode.id)
    for tick in range(episode.num_frames):
        recorder.add(
            Frame(
                images={name: images[tick] for name, images in episode.images.items()},
                state=episode.state[tick],
                action=episode.action[tick],
                executed=episode.executed[tick],
                sensors={name: readings[tick] for name, readings in episode.sensors.items()},
                targets={name: values[tick] for name, values in episode.targets.items()},
                reward=None if episode.reward is None else float(episode.reward[tick]),
            )
        )
    recorder.end(success=episode.success, terminated=episode.terminated, final_state=episode.final_state)
