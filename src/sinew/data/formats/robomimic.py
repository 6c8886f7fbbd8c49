"""HDF5 of robomimic, which LIBERO, RoboCasa and MimicGen use as well.

One file, or a directory with such files, one a task::

    data           attributes env_args (JSON with robots, control_freq), problem_info (LIBERO: JSON with the sentence)
    data/demo_<i>  attribute ep_meta (RoboCasa: JSON with the sentence)
        actions    (T, A)        rewards, dones   (T,)
        obs/<key>  (T, ...) numbers, (T, H, W, 3) uint8 images; next_obs/<key> the same, one step later
        states     (T, ...) of the simulator; never read
    mask/valid     names of demos that are held out
    NAME.spec.json, NAME.columns.json      the rest of the RobotSpec, and other columns than the usual; ours

The state is the robot's own, ``STATES``; ``obs/object`` is simulator truth. The layout is from robomimic's and LIBERO's
source, no file that they wrote was at hand. LIBERO stores its images with the lowest row first: name them as
``upside_down`` in columns.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sinew.core.errors import DataError
from sinew.core.types import RobotSpec
from sinew.data.episode import Episode
from sinew.data.formats.hdf5_columns import Demo, Demos, Scheme, files_in, in_order, spec_beside, text_of
from sinew.data.formats.hdf5_file import holds, opened
from sinew.data.formats.robot import PartialSpec

ROBOT = ("eef_pos", "eef_quat", "gripper_qpos")
STATES = (
    *(f"obs/robot{number}_{name}" for number in (0, 1) for name in ROBOT),
    "obs/gripper_states",
    "obs/joint_states",
)
"""robomimic's and LIBERO's own default of low-dimensional columns, without those of the world."""
SCHEME = Scheme("actions", STATES, "obs/", reward="rewards", ended="dones", following=("obs/", "next_obs/"))


class Robomimic:
    """Reads the layout above; see ``Source``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        paths = files_in(path)
        demos = [demo for file in paths for demo in _demos(file, several=len(paths) > 1)]
        if not demos:
            raise DataError(f"{path}: data holds no demo_0, demo_1, ... Restore the file from a copy.")
        self._demos = Demos(path, demos, SCHEME, self.spec_file(path))
        self.files = (*paths, *self._demos.own)
        self.lengths = self._demos.lengths
        self.instructions = tuple(demo.instruction for demo in demos)
        self.tasks = self.instructions
        self.judged = self._demos.columns.success is not None
        self.held_out = frozenset(number for number, demo in enumerate(demos) if demo.held_out)
        self.facts = self._demos.facts(_said(paths[0]))
        self.unread = self._demos.unread

    @staticmethod
    def detect(path: Path) -> bool:
        """Return whether a file, or the first one of a directory, holds a group data with demos."""
        files = files_in(path)
        if not files or not holds(files[0], "data"):
            return False
        with opened(files[0]) as file:
            return any(str(name).startswith("demo_") for name in file["data"])

    @staticmethod
    def spec_file(path: Path) -> Path:
        """Return ``spec.json`` in the directory, ``name.spec.json`` beside the file."""
        return spec_beside(path)

    def reach(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the smallest and the largest action, (A,) each."""
        return self._demos.reach()

    def episode(self, number: int, spec: RobotSpec) -> Episode:
        """Read one episode."""
        return self._demos.episode(number, spec)


def _demos(path: Path, *, several: bool) -> Iterator[Demo]:
    """Yield the episodes of a file, demo_9 before demo_10."""
    with opened(path) as file:
        data = file["data"]
        sentence = _sentence(data, "problem_info", "language_instruction", str(path))
        kept = _held_out(file, str(path))
        for name in sorted((str(name) for name in data if str(name).startswith("demo_")), key=in_order):
            text = _sentence(data[name], "ep_meta", "lang", f"{path}: {name}") or sentence
            yield Demo(path, f"data/{name}", f"{path.stem}/{name}" if several else name, text, name in kept)


def _said(path: Path) -> PartialSpec:
    """Return rate and robot as the settings of the simulator have them."""
    with opened(path) as file:
        settings = _json(file["data"], "env_args", str(path)).get("env_kwargs", {})
    settings = settings if isinstance(settings, dict) else {}
    robots, rate = settings.get("robots"), settings.get("control_freq")
    names = [str(robot) for robot in robots] if isinstance(robots, list) else [robots] if robots else []
    return PartialSpec(
        embodiment="+".join(map(str, names)) or None,
        hz=float(rate) if isinstance(rate, int | float) and not isinstance(rate, bool) else None,
    )


def _sentence(group: Any, attribute: str, key: str, where: str) -> str:  # noqa: ANN401  (h5py has no types)
    text = _json(group, attribute, where).get(key, "")
    if isinstance(text, list) and all(isinstance(letter, str) for letter in text):
        text = "".join(text)  # LIBERO joins it when it reads, so that a list of letters is as good as a string
    if not isinstance(text, str):
        raise DataError(f"{where}: {attribute} says {text!r} as {key}, one sentence is needed.")
    return text.strip().strip('"')


def _json(group: Any, attribute: str, where: str) -> dict[str, Any]:  # noqa: ANN401
    if attribute not in group.attrs:
        return {}
    try:
        content = json.loads(text_of(group.attrs[attribute], f"{where}: attribute {attribute}"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: attribute {attribute} is not JSON ({error}).") from error
    return content if isinstance(content, dict) else {}


def _held_out(file: Any, where: str) -> set[str]:  # noqa: ANN401
    if "mask/valid" not in file:
        return set()
    return {text_of(name, f"{where}: mask/valid") for name in file["mask/valid"][()].reshape(-1)}
