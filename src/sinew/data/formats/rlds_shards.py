"""Where the records of a data set of TensorFlow Datasets lie, as its dataset_info.json says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sinew.core.errors import DataError
from sinew.core.files import read_json

INFO, FEATURES = "dataset_info.json", "features.json"
TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"


def roots_in(path: Path) -> list[Path]:
    """Return the directory, or those inside it, that hold a data set."""
    if not path.is_dir():
        return []
    places = [path, *sorted(child for child in path.iterdir() if child.is_dir())]
    return [place for place in places if (place / INFO).is_file() and (place / FEATURES).is_file()]


def find_root(path: Path) -> Path:
    """Return the directory of the one version that there is.

    Raises:
        DataError: there is none, or there are several.
    """
    roots = roots_in(path)
    if not roots:
        raise DataError(f"{path}: holds no {INFO} and {FEATURES}. Give the directory of a version of the data set.")
    if len(roots) > 1 and roots[0] != path:
        raise DataError(f"{path}: holds several versions: {', '.join(root.name for root in roots)}. Give one of them.")
    return roots[0]


def list_shards(root: Path) -> Iterator[tuple[str, Path, int]]:
    """Yield (split, file, number of records) as dataset_info.json says.

    Raises:
        DataError: it does not say so.
    """
    info = read_json(root / INFO)
    try:
        name, kind = str(info["name"]), str(info.get("fileFormat") or "tfrecord")
        splits = [(str(split["name"]), _template(split), _counts(split)) for split in info["splits"]]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(
            f"{root / INFO}: name, splits and shardLengths are needed, found {error!r}. Restore the file."
        ) from error
    for split, template, counts in splits:
        for shard, count in enumerate(counts):
            words = {"DATASET": name, "SPLIT": split, "FILEFORMAT": kind, "NUM_SHARDS": f"{len(counts):05d}"}
            words |= {"SHARD_INDEX": f"{shard:05d}", "SHARD_X_OF_Y": f"{shard:05d}-of-{len(counts):05d}"}
            yield split, root / _filled(template, words), count


def _template(split: dict[str, Any]) -> str:
    return str(split.get("filepathTemplate") or TEMPLATE)


def _counts(split: dict[str, Any]) -> list[int]:
    return [int(count) for count in split["shardLengths"]]


def _filled(template: str, words: dict[str, str]) -> str:
    """Return the name of a file, which lies in the directory itself whatever the template says."""
    for word, value in words.items():
        template = template.replace(f"{{{word}}}", value)
    return Path(template).name
