"""HDF5 of ALOHA and ACT: a directory with one file an episode.

::

    episode_<i>.hdf5
        action                     (T, A)
        observations/qpos          (T, S), and others such as qvel and effort
        observations/images/<CAM>  (T, H, W, 3) uint8; or (T, bytes) uint8: JPEG, zeros up to the longest row
    spec.json, columns.json        the rest of the RobotSpec, and other columns than the usual; ours

The layout is from the source of ACT and ALOHA, no file that they wrote was at hand. Neither rate nor sentence is in the
files. OpenCV, which compressed the rows, takes blue for the first channel: where red and blue are swapped, name the
cameras as ``bgr`` in columns.json.
"""

from __future__ import annotations

from pathlib import Path

from sinew.core.errors import DataError
from sinew.core.types import RobotSpec
from sinew.data.episode import Episode
from sinew.data.formats.columns import read_columns
from sinew.data.formats.hdf5_columns import Demo, Demos, Scheme, files_in, spec_beside, text_of
from sinew.data.formats.hdf5_file import holds, opened, values_in
from sinew.data.formats.robot import PartialSpec

SCHEME = Scheme("action", ("observations/qpos",), "observations/images/")
JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper")
NAMES = tuple(f"{side}_{joint}" for side in ("left", "right") for joint in JOINTS)
"""The 14 values of state and action of the two arms, in the order of the source."""


class Aloha:
    """Reads the layout above; see ``Source``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        paths = files_in(path)
        choice = read_columns(self.spec_file(path))
        demos = [Demo(file, "", file.stem, _sentence(file, choice.instruction)) for file in paths]
        self._demos = Demos(path, demos, SCHEME, self.spec_file(path))
        self.files = (*paths, *self._demos.own)
        self.lengths = self._demos.lengths
        self.instructions = tuple(demo.instruction for demo in demos)
        self.tasks = self.instructions
        self.judged = choice.success is not None
        plain = self._demos.facts(PartialSpec())
        self.facts = self._demos.facts(
            PartialSpec(
                action=NAMES if plain.action_size == len(NAMES) and plain.said.action is None else None,
                state=NAMES if plain.state_size == len(NAMES) and plain.said.state is None else None,
            )
        )
        self.unread = self._demos.unread

    @staticmethod
    def detect(path: Path) -> bool:
        """Return whether a file, or the first one of a directory, holds an action and observations/qpos."""
        files = files_in(path)
        return bool(files) and holds(files[0], "action", "observations/qpos")

    @staticmethod
    def spec_file(path: Path) -> Path:
        """Return ``spec.json`` in the directory, ``name.spec.json`` beside a file."""
        return spec_beside(path)

    def reach(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the smallest and the largest action, (A,) each."""
        return self._demos.reach()

    def episode(self, number: int, spec: RobotSpec) -> Episode:
        """Read one episode."""
        return self._demos.episode(number, spec)


def _sentence(path: Path, column: str | None) -> str:
    """Return the sentence of a file, where the owner says in which column it is."""
    if column is None:
        return ""
    with opened(path) as file:
        if column not in file:
            raise DataError(f"{path}: has no {column}, which columns.json names as instruction. Correct it.")
        return text_of(values_in(file, column, str(path)), f"{path}: {column}")
