"""The exported artefact: a directory that holds all a robot needs of a policy, verified when it is opened."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import sinew
from sinew.core.config import from_dict, to_dict
from sinew.core.errors import CheckpointError, ConfigError, DataError
from sinew.core.files import new_directory, read_json, write_json
from sinew.core.types import RobotSpec

SCHEMA = 1
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
CHECKSUM = "checksum"
"""Key of the manifest's own SHA-256, over everything else in it."""

Runner = Literal["single", "denoise"]


@dataclass(frozen=True)
class Port:
    """One input or output of a graph; sizes that vary are named ("batch", "words")."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Graph:
    """One network file and what goes in and out."""

    file: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of D values, physical units."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Images:
    """How images go in; the graphs scale them to floating point themselves, and nothing resizes them."""

    dtype: str = "uint8"
    layout: str = "batch, tick, RGB, height, width"


@dataclass(frozen=True)
class Manifest:
    """What an artefact is.

    Attributes:
        format: of the graphs, a key of ``EXPORTERS``.
        runner: ``single``, one graph "policy" from observation to actions; ``denoise``, a graph "prefix" run once
            and a graph "step" run for each of ``times``, from noise that the caller gives.
        graphs: by role.
        robot: that the policy was made for; holds the sizes of images, state and actions.
        history: T. horizon: H. execute: actions run before predicting again. max_tokens: words looked at.
        points: coordinates of each point that the policy predicts, by name.
        times: of the denoising steps, 0 is noise; none with ``single``.
        padding: id that fills up sentences of a batch.
        ending: what every sentence ends with; added where it does not.
        template: what is said in place of a sentence, see ``core.spoken``.
        drawn: values of each step of that noise; None for as many as the robot has actions.
        normalizer: statistics by name, for readers; the graphs apply them themselves.
        previous: P, actions executed before that the graphs are given, NaN where none were.
        images: what the graphs want of images.
        source: where the policy comes from: run, checkpoint, world.
        versions: of what exported it.
        sha256: of every other file.
        schema_version: of this record.
    """

    format: str
    runner: Runner
    graphs: Mapping[str, Graph]
    robot: RobotSpec
    history: int
    horizon: int
    execute: int
    max_tokens: int
    points: Mapping[str, int]
    normalizer: Mapping[str, Scale]
    times: tuple[float, ...] = ()
    padding: int = 0
    ending: str = ""
    template: str = ""
    drawn: int | None = None
    previous: int = 0
    images: Images = field(default_factory=Images)
    source: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA

    def noise(self, rows: int) -> tuple[int, int, int]:
        """Return the shape of the noise from which that many rows start."""
        return rows, self.horizon, self.drawn or self.robot.action_size


def is_artefact(path: Path) -> bool:
    """Say whether a directory looks like an artefact."""
    return (path / MANIFEST).is_file()


@contextmanager
def new_artefact(path: Path) -> Generator[Path]:
    """Yield a directory to fill, ``seal`` included, that becomes the artefact ``path`` at once or not at all.

    Raises:
        CheckpointError: ``path`` holds something else than an artefact.
    """
    if path.exists() and not is_artefact(path) and (not path.is_dir() or any(path.iterdir())):
        raise CheckpointError(f"{path}: is there already and no artefact. Name another place with --out.")
    with new_directory(path) as directory:
        yield directory


def seal(directory: Path, manifest: Manifest) -> Manifest:
    """Write the manifest with the sums of all files beside it, and return it."""
    files = sorted(item.name for item in directory.iterdir() if item.is_file() and item.name != MANIFEST)
    sealed = dataclasses.replace(manifest, sha256={name: _sum(directory / name) for name in files})
    content = to_dict(sealed)
    write_json(directory / MANIFEST, {**content, CHECKSUM: _checksum(content)})
    return sealed


def open_artefact(path: Path) -> Manifest:
    """Return the manifest of an artefact whose every byte is as it was exported.

    Raises:
        CheckpointError: there is no artefact, a newer sinew wrote it, or a file is missing or was changed.
    """
    manifest = read_manifest(path)
    wanted = {*manifest.sha256, *(graph.file for graph in manifest.graphs.values()), TOKENIZER}
    strange = sorted(name for name in wanted if Path(name).name != name or name not in manifest.sha256)
    missing = sorted(name for name in manifest.sha256 if not (path / name).is_file())
    if strange or missing:
        raise CheckpointError(f"{path}: {', '.join(strange + missing)} missing. Copy all of it again, or export again.")
    changed = [name for name, wanted_sum in manifest.sha256.items() if _sum(path / name) != wanted_sum]
    if changed:
        raise CheckpointError(
            f"{path}: {', '.join(changed)} is not what was exported (its SHA-256 differs). "
            "Copy it again, or export again."
        )
    return manifest


def read_manifest(path: Path) -> Manifest:
    """Return what an artefact says of itself; of its files only the manifest is verified.

    Raises:
        CheckpointError: there is none, a newer sinew wrote it, or it was changed.
    """
    place = path / MANIFEST
    try:
        content = read_json(place)
    except DataError as error:
        raise CheckpointError(f"{error} An artefact is what sinew export wrote.") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA:
        raise CheckpointError(f"{place}: schema {version}, this sinew reads up to {SCHEMA}. Upgrade sinew-vla.")
    if not isinstance(content, dict) or content.pop(CHECKSUM, None) != _checksum(content):
        raise CheckpointError(f"{place}: is not what was exported (its checksum differs). Export again.")
    try:
        return from_dict(Manifest, content, str(place))
    except ConfigError as error:
        raise CheckpointError(f"{error}\nExport again.") from error


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python, sinew and these packages."""
    found = {"python": platform.python_version(), "sinew": sinew.__version__}
    return {**found, **{name: metadata.version(name) for name in packages}}


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
