"""Writing episodes as a Minari data set, so that the library of that name reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.config import to_dict
from sinew.core.errors import DataError, require
from sinew.core.files import new_directory, write_json
from sinew.core.types import RobotSpec
from sinew.data.episode import Episode
from sinew.data.formats.minari_space import boundless, box
from sinew.data.formats.source import check_writable, of_one_robot

MAIN, METADATA = "main_data.hdf5", "metadata.json"
WRITTEN_AS = "0.5.4"
"""The library's version whose layout this is; it refuses to read versions that it does not know."""
OURS, FILLED = "sinew", "filled_in"
"""Our RobotSpec in the metadata, and an episode's attribute that lists what was not recorded but had to be there."""
STATE = "state"


def write_minari(path: Path, episodes: Iterable[Episode], *, on_episode: Callable[[int], None] | None = None) -> None:
    """Write a new data set; see ``Source.write``."""
    h5py = require("h5py", extra="formats")
    check_writable(path)
    with new_directory(path) as root:
        (root / "data").mkdir()
        lengths: list[int] = []
        metadata: dict[str, Any] = {}
        with h5py.File(root / "data" / MAIN, "w", track_order=True) as file:
            for number, episode in enumerate(of_one_robot(path, episodes, on_episode)):
                _write_episode(file.create_group(f"episode_{number}"), episode, number)
                metadata = metadata or _metadata(path, episode.spec)
                lengths.append(episode.num_frames)
        totals = {"total_episodes": len(lengths), "total_steps": sum(lengths)}
        write_json(root / "data" / METADATA, totals | metadata)


def _metadata(path: Path, spec: RobotSpec) -> dict[str, Any]:
    return {
        "data_format": "hdf5",
        "jpeg_encoding": False,
        "observation_space": json.dumps(_observation_space(spec)),
        "action_space": json.dumps(box(np.array(spec.low, np.float32), np.array(spec.high, np.float32))),
        "dataset_id": re.sub(r"[^-\w]", "-", path.name) + "-v0",
        "minari_version": WRITTEN_AS,
        OURS: to_dict(spec),
    }


def _plain(spec: RobotSpec) -> bool:
    """Return whether the state is all that is observed; then it is an array and no group."""
    return not spec.cameras and not spec.sensors


def _observation_space(spec: RobotSpec) -> dict[str, Any]:
    state = boundless((spec.state_size,), "float32")
    if _plain(spec):
        return state
    parts = {STATE: state} if spec.state else {}
    for name, camera in spec.cameras.items():
        parts[name] = boundless((camera.height, camera.width, 3), "uint8")
    for name, sensor in spec.sensors.items():
        parts[name] = boundless(tuple(sensor.shape), sensor.dtype)
    return {"type": "Dict", "subspaces": dict(sorted(parts.items()))}


def _write_episode(group: Any, episode: Episode, number: int) -> None:  # noqa: ANN401  (h5py has no types)
    names = [*episode.spec.cameras, *episode.spec.sensors]
    if STATE in names or len(set(names)) < len(names) or any("/" in name or "." in name for name in names):
        raise DataError(
            f"episode {episode.id}: its cameras and sensors are {', '.join(names)}; as parts of one observation they "
            f"need different names without slash or dot, and none may be {STATE}. Rename them."
        )
    recorded = {"final_state": episode.final_state, "reward": episode.reward}
    filled = [name for name, value in recorded.items() if value is None]
    final = episode.final_state[None] if episode.final_state is not None else episode.state[-1:]
    state = np.concatenate([episode.state, final])
    if _plain(episode.spec):
        group.create_dataset("observations", data=state)
    else:
        observations = group.create_group("observations")
        if episode.spec.state:
            observations.create_dataset(STATE, data=state)
        for name, images in episode.images.items():
            _write_frames(observations, name, _and_last(images.transpose(0, 2, 3, 1)))
        for name, readings in episode.sensors.items():
            _write_frames(observations, name, _and_last(readings))
    last = np.arange(episode.num_frames) == episode.num_frames - 1
    zeros = np.zeros(episode.num_frames)
    group.create_dataset("actions", data=episode.action)
    group.create_dataset("rewards", data=zeros if episode.reward is None else episode.reward.astype(np.float64))
    group.create_dataset("terminations", data=last & episode.terminated)
    group.create_dataset("truncations", data=last & (not episode.terminated))
    group.create_dataset("infos/success", data=np.append(np.zeros(episode.num_frames, bool), bool(episode.success)))
    group.attrs["id"], group.attrs["total_steps"] = number, episode.num_frames
    group.attrs["instruction"], group.attrs["task"] = episode.instruction, episode.task
    group.attrs[FILLED] = json.dumps(filled)


def _and_last(values: NDArray[Any]) -> NDArray[Any]:
    """Return frames with the last one again, for what was not seen after the last action."""
    return np.concatenate([values, values[-1:]])


def _write_frames(group: Any, name: str, values: NDArray[Any]) -> None:  # noqa: ANN401
    chunk = (1, *values.shape[1:]) if values.ndim > 2 else None
    packing = {"compression": "gzip", "compression_opts": 1} if chunk else {}
    group.create_dataset(name, data=values, chunks=chunk, **packing)
