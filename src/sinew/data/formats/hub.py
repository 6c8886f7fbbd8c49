"""Data sets named by their id on the Hugging Face hub, such as ``lerobot/pusht``, found in the cache or downloaded.

A name is ``org/name``, ``org/name@revision``, or either with a path inside: ``imone/D4RL/hopper_medium-v2.hdf5``.
A path that exists is never looked up, nor one whose first part is a directory here. Looked at are, in this order,
the directories where lerobot and minari keep their own copies, then the hub, and without a network its cache.
Where a hub data set says too little of its robot, its spec.json is looked for in the working directory under the
data set's name: ``pusht.spec.json``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sinew.core.errors import DataError, DependencyError, require
from sinew.data.formats.source import first_of

PART = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
NAME = re.compile(rf"(?P<repo>{PART}/{PART}?)(@(?P<revision>[\w.-]+))?(/(?P<inside>.+))?")
NO_NAMES = (".hdf5", ".h5", ".npz", ".json", ".jsonl", ".tar", ".zip", ".bag", ".mcap", ".db3", ".parquet", ".zarr")
"""Endings of files; ``demos/mine.hdf5`` is a path, not a name."""
WHOLE = re.compile(r"meta|images(\.zip)?|(features|dataset_info|metadata)\.json|.*\.(tar|tfrecord|array_record)\b.*")
"""What stands at the top of a repository that is one data set, not a shelf of them."""
COPIES = (("HF_LEROBOT_HOME", "~/.cache/huggingface/lerobot"), ("MINARI_DATASETS_PATH", "~/.minari/datasets"))
"""Where other libraries keep data sets by name: the variable that says it, and the place otherwise."""

TIMEOUT_S = 10
"""How long the hub may take to say what a data set holds [s]."""


@dataclass(frozen=True)
class HubName:
    """A data set on the hub.

    Attributes:
        repo: ``org/name``.
        revision: branch, tag or commit.
        inside: file or directory in it; "" is all of it.
    """

    repo: str
    revision: str = "main"
    inside: str = ""


def hub_name(path: Path) -> HubName | None:
    """Return the data set on the hub that a path names, or None where it is a path."""
    text = path.as_posix()
    match = NAME.fullmatch(text)
    parts = text.split("/")
    if match is None or ".." in parts or path.exists() or Path(parts[0]).exists():
        return None
    if len(parts) == 2 and path.suffix.lower() in NO_NAMES:
        return None
    return HubName(match["repo"], match["revision"] or "main", match["inside"] or "")


def located(path: Path) -> Path:
    """Return where a data set lies: the path itself, or what the hub has under that name.

    Raises:
        DataError: there is neither; the message says what was looked for, and where.
        DependencyError: it is a name, and the package that talks to the hub is not installed.
    """
    name = hub_name(path)
    if name is None:
        return path
    for variable, place in COPIES:
        copy = Path(os.environ.get(variable, place)).expanduser() / path
        if copy.exists():
            return copy
    try:
        hub, errors = require("huggingface_hub", extra="hub"), require("huggingface_hub.errors", extra="hub")
    except DependencyError as error:
        raise DependencyError(f"{path}: no such file or directory here. To look it up on the hub, {error}") from error
    try:
        return _online(hub, name)
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise DataError(
            f"{path}: no such file or directory, and the hub shows no data set {name.repo} at revision "
            f"{name.revision} ({_first_line(error)}). Correct the name; log in (hf auth login) if it is private."
        ) from error
    except (OSError, ValueError, errors.HTTPError) as error:
        return _cached(name, path, _first_line(error))


def spec_place(path: Path, beside: Path) -> Path:
    """Return where a data set's spec.json is looked for.

    Args:
        path: the data set.
        beside: where its format has it.
    """
    name = in_cache(path)
    return beside if name is None else Path(f"{Path(name).name}.spec.json")


def in_cache(path: Path) -> str | None:
    """Return the name of a data set that lies in the hub's cache, None of one that lies elsewhere."""
    for parent in (path, *path.parents):
        folder = parent.parent.parent.name
        if parent.parent.name == "snapshots" and folder.startswith("datasets--"):
            inside = path.relative_to(parent).as_posix()
            return folder.removeprefix("datasets--").replace("--", "/") + ("" if inside == "." else f"/{inside}")
    return None


def _online(hub: Any, name: HubName) -> Path:  # noqa: ANN401  (a module)
    """Download what is not in the cache yet; the hub's own library falls back to the cache where it can."""
    api = hub.HfApi()
    where = {"repo_type": "dataset", "revision": name.revision}
    files = [item.rfilename for item in api.repo_info(name.repo, **where, timeout=TIMEOUT_S).siblings or ()]
    names = sorted({file.partition("/")[0] for file in files})
    inside = name.inside or _only(name, names)
    if inside and not any(file == inside or file.startswith(f"{inside}/") for file in files):
        raise _absent(name, names)
    patterns = [inside, f"{inside}/*"] if inside else None
    return Path(api.snapshot_download(name.repo, **where, allow_patterns=patterns, cache_dir=_cache())) / inside


def _cached(name: HubName, path: Path, reason: str) -> Path:
    """Return the copy in the hub's cache."""
    folder = _cache() / f"datasets--{name.repo.replace('/', '--')}"
    ref = folder / "refs" / name.revision
    commit = ref.read_text().strip() if ref.is_file() else name.revision
    root = folder / "snapshots" / commit
    if not root.is_dir():
        command = f"hf download {name.repo} {name.inside}".strip()
        raise DataError(
            f"{path}: no such file or directory here, so it was looked up on the hub, which cannot be reached "
            f"({reason}). Its cache has no revision {name.revision} in {folder}. Where there is a network: "
            f"{command} --repo-type dataset --revision {name.revision}"
        )
    names = sorted(item.name for item in root.iterdir())
    inside = name.inside or _only(name, names)
    if not (root / inside).exists():
        raise _absent(name, names)
    return root / inside


def _absent(name: HubName, names: Sequence[str]) -> DataError:
    return DataError(
        f"{name.repo}: holds no {name.inside} at revision {name.revision}, but {first_of(names)}. "
        "Correct the path inside; without a network only what was downloaded before is seen."
    )


def _only(name: HubName, names: Sequence[str]) -> str:
    """Return "" where a repository is one data set, and its one HDF5 file where it has one.

    Raises:
        DataError: it is a shelf of many, of which one must be named.
    """
    files = [item for item in names if Path(item).suffix in (".hdf5", ".h5")]
    if len(files) == 1:
        return files[0]
    if not files and any(WHOLE.fullmatch(item) for item in names):
        return ""
    shown = [item for item in names if not item.startswith(".") and Path(item).suffix not in (".md", ".py")]
    raise DataError(
        f"{name.repo}: is no single data set but holds {first_of(shown) or 'nothing'}. Name one of them: "
        f"{name.repo}/{shown[0] if shown else 'path'}"
    )


def _cache() -> Path:
    return Path(require("huggingface_hub.constants", extra="hub").HF_HUB_CACHE).expanduser()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
