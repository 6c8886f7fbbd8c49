"""D4RL's HDF5 files: the steps of all episodes one after another, without images.

Layout, N steps in all (from the library's source; its own files were not at hand)::

    observations, actions     (N, S) and (N, A)
    rewards, terminals        (N,) or (N, 1)
    timeouts                  (N,) True where an episode was cut; absent from some files
    next_observations         (N, S) optional
    infos/*                   (N, ...) optional; read where the spec names them as sensors

An episode ends after a step with ``terminals`` or ``timeouts``, and after the last step. Only a terminal says that
nothing comes after: an episode that was cut is not ``terminated``, and what it was worth then can be told from its
``final_state`` only, which there is with ``next_observations``. Without ``timeouts`` episodes are cut where an
observation is not the next one of the step before. A file that has neither and does not end with a terminal is refused.

The attributes ``spec`` (the RobotSpec as JSON) and ``episodes`` (sentence, task, success by episode, and which of
reward and final state were not recorded but filled in) are ours; whoever reads the arrays does not notice them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sinew.core.config import from_dict, to_dict
from sinew.core.errors import ConfigError, DataError
from sinew.core.types import RobotSpec
from sinew.data.episode import Episode
from sinew.data.formats.columns import as_reading
from sinew.data.formats.hdf5_file import array_in, holds, new_file, opened, values_in
from sinew.data.formats.robot import Facts, PartialSpec, partial_of
from sinew.data.formats.source import (
    RAW,
    check_sensors,
    check_writable,
    numbered,
    numbers,
    of_one_robot,
    range_of,
)

NEEDED = ("observations", "actions", "rewards", "terminals")
BLOCK = 100_000
"""Steps looked at together."""


@dataclass(frozen=True)
class Told:
    """What our attribute says of an episode.

    Attributes:
        reward: rewards were recorded, not filled in with 0.
        final: the state after the last action was recorded, not filled in with the one before.
    """

    instruction: str = ""
    task: str = ""
    success: bool = True
    reward: bool = True
    final: bool = True


class D4rl:
    """Reads and writes the layout above; see ``Source``."""

    storages: ClassVar[tuple[str, ...]] = ("none",)

    def __init__(self, path: Path) -> None:
        self.path = path
        with opened(path) as file:
            self._check_lengths(file)
            self._flags = {name: _flag(file, name, path) for name in ("terminals", "timeouts") if name in file}
            self._starts = self._split(file)
            self._has_next = "next_observations" in file
            self.facts = self._facts(file)
            told = self._told(file)
            infos = file.get("infos")
            self._infos = tuple(sorted(infos)) if hasattr(infos, "keys") else ()
            known = {*NEEDED, "timeouts", "next_observations"}
            self.unread = tuple(name for name in sorted(file) if name not in known)
        self.lengths = tuple(np.diff(self._starts).tolist())
        self._episodes = (Told(task=path.stem),) * len(self.lengths) if told is None else told
        if len(self._episodes) != len(self.lengths):
            raise DataError(
                f"{path}: attribute episodes tells of {len(self._episodes)} episodes, the steps are of "
                f"{len(self.lengths)}. The file was changed after it was written; restore it, or remove the attribute."
            )
        self.judged = told is not None
        self.instructions = tuple(item.instruction for item in self._episodes)
        self.tasks = tuple(item.task for item in self._episodes)

    @staticmethod
    def detect(path: Path) -> bool:
        """Return whether a file holds D4RL's four arrays."""
        return holds(path, *NEEDED)

    @staticmethod
    def spec_file(path: Path) -> Path:
        """Return ``name.spec.json`` beside ``name.hdf5``."""
        return path.with_suffix(".spec.json")

    @property
    def files(self) -> tuple[Path, ...]:
        """The one file."""
        return (self.path,)

    def reach(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the smallest and the largest action, (A,) each."""
        with opened(self.path) as file:
            rows = {f"{self.path}: actions": numbers(file["actions"][:], f"{self.path}: actions", floating=True)}
        return range_of(rows, self.facts.action_size)

    def episode(self, number: int, spec: RobotSpec) -> Episode:
        """Read one episode."""
        start, end = int(self._starts[number]), int(self._starts[number + 1])
        told, name = self._episodes[number], f"episode_{number}"
        where = f"{self.path}: {name}"
        check_sensors(str(self.path), spec, dict.fromkeys(self._infos))
        with opened(self.path, name) as file:

            def rows(field: str) -> NDArray[Any]:
                return np.asarray(array_in(file, field, where)[start:end])

            action = numbers(rows("actions"), f"{where}: actions", floating=True)
            state, final = np.zeros((end - start, 0), np.float32), None
            if spec.state:
                state = numbers(rows("observations"), f"{where}: observations", floating=False)
            if spec.state and self._has_next and told.final:
                last = np.asarray(file["next_observations"][end - 1 : end])
                final = numbers(last, f"{where}: next_observations", floating=False)[0]
            reward = numbers(rows("rewards"), f"{where}: rewards", floating=False)[:, 0] if told.reward else None
            sensors = {
                name: as_reading(rows(f"infos/{name}"), sensor, f"{where}: infos/{name}")
                for name, sensor in spec.sensors.items()
            }
        return Episode(
            spec=spec,
            images={},
            state=state,
            action=action,
            executed=action,
            instruction=told.instruction,
            task=told.task,
            success=told.success,
            source=self.path.stem,
            id=name,
            sensors=sensors,
            reward=reward,
            terminated=bool(self._flags["terminals"][end - 1]),
            final_state=final,
        )

    @staticmethod
    def write(
        path: Path,
        episodes: Iterable[Episode],
        *,
        storage: str = "none",
        on_episode: Callable[[int], None] | None = None,
    ) -> None:
        """Write episodes without images to a new file."""
        if storage not in D4rl.storages:
            raise DataError(f"{storage}: D4RL holds no images; ask for lerobot, minari or hdf5.")
        check_writable(path)
        with new_file(path) as file:
            told: list[Told] = []
            for episode in of_one_robot(path, episodes, on_episode):
                if not told:
                    file.attrs["spec"] = json.dumps(to_dict(episode.spec))
                told.append(_append(file, episode))
            file.attrs["episodes"] = json.dumps([to_dict(item) for item in told])

    def _check_lengths(self, file: Any) -> None:  # noqa: ANN401  (h5py has no types)
        arrays = {name: array_in(file, name, str(self.path)) for name in NEEDED}
        arrays |= {
            name: array_in(file, name, str(self.path)) for name in ("timeouts", "next_observations") if name in file
        }
        lengths = {name: array.shape[0] if array.shape else 0 for name, array in arrays.items()}
        if len(set(lengths.values())) > 1 or not all(lengths.values()):
            text = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise DataError(f"{self.path}: arrays differ in length or are empty ({text} steps). Restore the file.")

    def _split(self, file: Any) -> NDArray[np.int64]:  # noqa: ANN401
        """Return the first step of every episode, and the number of steps."""
        ends = np.logical_or.reduce(list(self._flags.values()))
        if "timeouts" not in self._flags:
            if "next_observations" in file:
                ends = ends | _jumps(file)
            elif not ends[-1]:
                raise DataError(
                    f"{self.path}: has neither timeouts nor next_observations and does not end with a terminal, so "
                    "nothing says where episodes were cut. Add timeouts, or use a newer version of the data set."
                )
        ends[-1] = True
        return np.concatenate([[0], np.flatnonzero(ends) + 1])

    def _facts(self, file: Any) -> Facts:  # noqa: ANN401
        first = {
            name: numbers(file[name][:1], f"{self.path}: {name}", floating=name == "actions").shape[1]
            for name in ("observations", "actions")
        }
        said = PartialSpec(
            state=numbered("observation", first["observations"]),
            state_units=(RAW,) * first["observations"],
            action=numbered("action", first["actions"]),
            action_units=(RAW,) * first["actions"],
        )
        if "spec" in file.attrs:
            said = partial_of(_json(file, "spec", self.path), f"{self.path}: attribute spec")
        return Facts(action_size=first["actions"], state_size=first["observations"], cameras={}, said=said)

    def _told(self, file: Any) -> tuple[Told, ...] | None:  # noqa: ANN401
        if "episodes" not in file.attrs:
            return None
        content = _json(file, "episodes", self.path)
        if not isinstance(content, list):
            raise DataError(f"{self.path}: attribute episodes is no list. Restore the file, or remove the attribute.")
        try:
            return tuple(from_dict(Told, item, f"{self.path}: attribute episodes") for item in content)
        except ConfigError as error:
            raise DataError(f"{error} Restore the file, or remove the attribute.") from error


def _flag(file: Any, name: str, path: Path) -> NDArray[np.bool_]:  # noqa: ANN401
    return numbers(values_in(file, name, str(path)), f"{path}: {name}", floating=False)[:, 0] != 0


def _jumps(file: Any) -> NDArray[np.bool_]:  # noqa: ANN401
    """Return after which steps the next observation is not the one that the file says comes next."""
    now, after = file["observations"], file["next_observations"]
    jumps = np.zeros(len(now), bool)
    for start in range(0, len(now) - 1, BLOCK):
        end = min(start + BLOCK, len(now) - 1)
        same = after[start:end] == now[start + 1 : end + 1]
        jumps[start:end] = ~same.reshape(end - start, -1).all(axis=1)
    return jumps


def _json(file: Any, name: str, path: Path) -> Any:  # noqa: ANN401
    try:
        return json.loads(file.attrs[name])
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: attribute {name} is not JSON ({error}).") from error


def _append(file: Any, episode: Episode) -> Told:  # noqa: ANN401
    """Write the steps of an episode behind those that are there."""
    if episode.images:
        raise DataError(
            f"episode {episode.id}: has images ({', '.join(episode.images)}), which D4RL's layout cannot hold. "
            "Write lerobot, minari or hdf5."
        )
    last = np.arange(episode.num_frames) == episode.num_frames - 1
    final = episode.state[-1] if episode.final_state is None else episode.final_state
    zeros = np.zeros(episode.num_frames, np.float32)
    columns = {
        "observations": episode.state,
        "actions": episode.action,
        "rewards": zeros if episode.reward is None else episode.reward,
        "terminals": last & episode.terminated,
        "timeouts": last & (not episode.terminated),
        "next_observations": np.concatenate([episode.state[1:], final[None]]),
    } | {f"infos/{name}": values for name, values in episode.sensors.items()}
    for name, values in columns.items():
        if name not in file:
            growing = tuple(size or None for size in values.shape[1:])
            shape = (0, *values.shape[1:])
            file.create_dataset(name, shape, values.dtype, maxshape=(None, *growing), chunks=_chunks(values))
        array = file[name]
        array.resize(len(array) + len(values), axis=0)
        array[len(array) - len(values) :] = values
    recorded = {"reward": episode.reward is not None, "final": episode.final_state is not None}
    return Told(episode.instruction, episode.task, bool(episode.success), **recorded)


def _chunks(values: NDArray[Any]) -> tuple[int, ...]:
    """Return how many rows lie together: about 64 kB."""
    per_row = max(values[:1].nbytes, 1)
    return (max(65536 // per_row, 1), *(max(size, 1) for size in values.shape[1:]))
