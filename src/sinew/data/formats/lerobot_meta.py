"""The table of contents of a LeRobot data set: info.json, and for v3.0 the sentences and the table of episodes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sinew.core.errors import DataError
from sinew.core.files import read_json
from sinew.core.types import SensorSpec
from sinew.data.formats.lerobot_table import read_columns, text_column
from sinew.data.formats.source import RAW, sensor_type

VERSION = "v3.0"
"""What is written."""
OLDER = ("v2.1", "v2.0")
"""What is read as well; see ``lerobot_v2``."""
OBSERVATION, REWARD = "observation.", "next.reward"
"""How the features that a robot senses begin, and the one that says how good the step was."""
NAMED, TERMINATED, FINAL = "task_name", "terminated", "final_state"
"""Our columns in the table of episodes: a name for tables, whether it ended by itself, the state it ended in."""
PLACE = re.compile(r"\{(\w+)(?::0?(\d{1,2})d)?\}")
"""A part of a path to fill in."""


@dataclass(frozen=True)
class Row:
    """An episode in the table of episodes.

    Attributes:
        index: its number in the columns ``episode_index``.
        length: T.
        instruction: the sentence.
        task: name for tables.
        file: that its rows are in, inside the data set.
        films: by feature, the film inside the data set and the number of the first frame in it.
        terminated: it ended by itself.
        final_state: (S,) after the last action, None where nobody says.
    """

    index: int
    length: int
    instruction: str
    task: str
    file: str
    films: Mapping[str, tuple[str, int]]
    terminated: bool = False
    final_state: tuple[float, ...] | None = None


def read_info(path: Path) -> dict[str, Any]:
    """Read meta/info.json.

    Raises:
        DataError: missing, of another version, or without what every data set has.
    """
    file = path / "meta" / "info.json"
    info = read_json(file)
    version = info.get("codebase_version") if isinstance(info, dict) else None
    if version not in (VERSION, *OLDER):
        raise DataError(
            f"{file}: codebase_version is {version}, read are {', '.join((VERSION, *OLDER))}. Convert the data set "
            "with lerobot's own scripts to one of them."
        )
    wanted = {"fps": (int, float), "features": dict, "data_path": str, "total_episodes": int}
    wrong = [name for name, kind in wanted.items() if not isinstance(info.get(name), kind)]
    features = info["features"] if "features" not in wrong else {}
    wrong += [
        f"features.{name}"
        for name, item in features.items()
        if not (isinstance(item, dict) and isinstance(item.get("dtype"), str) and _is_shape(item.get("shape")))
    ]
    if wrong or info["fps"] <= 0:
        raise DataError(f"{file}: {', '.join(wrong) or 'fps'} is missing or of the wrong kind. Restore the file.")
    return info


def held_out_of(path: Path, info: Mapping[str, Any]) -> frozenset[int]:
    """Return the episodes that stand in another split than "train".

    Raises:
        DataError: such a split is not written as first:end.
    """
    splits = info.get("splits")
    found: set[int] = set()
    for name, text in splits.items() if isinstance(splits, dict) else ():
        if name == "train":
            continue
        match = re.fullmatch(r"(\d{1,9}):(\d{1,9})", text) if isinstance(text, str) else None
        if match is None:
            raise DataError(
                f"{path / 'meta' / 'info.json'}: split {name} is {text!r}, first:end was wanted, such as 50:60."
            )
        found |= set(range(int(match[1]), min(int(match[2]), int(info["total_episodes"]))))
    return frozenset(found)


def read_sentences(path: Path) -> dict[int, str]:
    """Return the sentences by task_index.

    Raises:
        DataError: the table is missing, damaged or of another layout.
    """
    file = path / "meta" / "tasks.parquet"
    table = read_columns(file)
    if "task_index" not in table.schema.names:
        raise DataError(f"{file}: has no column task_index, but {', '.join(table.schema.names)}.")
    return dict(zip(table["task_index"].to_pylist(), text_column(table, file), strict=True))


def read_rows(path: Path, info: Mapping[str, Any]) -> Iterator[Row]:
    """Yield the episodes in their order.

    Raises:
        DataError: the table is missing, damaged, or does not agree with info.json.
    """
    files = sorted((path / "meta" / "episodes").glob("*/*.parquet"))
    if not files:
        raise DataError(
            f"{path}: meta/episodes holds no table. LeRobot writes it when a recording is finished (finalize()); "
            "one that was cut off before cannot be read."
        )
    items = [(file, item) for file in files for item in _light(file)]
    if len(items) != info["total_episodes"]:
        raise DataError(
            f"{path}: meta/info.json counts {info['total_episodes']} episodes, meta/episodes lists {len(items)}. "
            "The recording was not finished, or files are missing; restore them."
        )
    for file, item in sorted(items, key=lambda pair: pair[1]["episode_index"]):
        yield _row(file, item, info)


def camera_name(key: str) -> str:
    """Return what a feature with images is called as a camera."""
    return re.sub(r"^observation\.(images?\.)?", "", key)


def films_of(info: Mapping[str, Any]) -> list[str]:
    """Return the features that are kept as films."""
    return [name for name, item in info["features"].items() if item["dtype"] == "video"]


def file_name(pattern: str, **parts: Any) -> str:  # noqa: ANN401  (numbers and names)
    """Return a path from a pattern in info.json, such as ``data/chunk-{chunk_index:03d}/file-000.parquet``.

    Raises:
        DataError: the pattern asks for other parts, or leads out of the data set.
    """

    def fill(match: re.Match[str]) -> str:
        value = parts[match[1]]
        return f"{value:0{int(match[2])}d}" if match[2] else str(value)

    try:
        name = PLACE.sub(fill, pattern)
    except (KeyError, ValueError) as error:
        raise DataError(
            f"meta/info.json: the path {pattern!r} cannot be filled in ({error}). Restore the file."
        ) from error
    if {"{", "}"} & set(name) or Path(name).is_absolute() or ".." in Path(name).parts:
        raise DataError(f"meta/info.json: the path {pattern!r} is none inside the data set. Restore the file.")
    return name


def _is_shape(value: Any) -> bool:  # noqa: ANN401  (any JSON value)
    return isinstance(value, list) and all(type(size) is int and 0 <= size < 2**31 for size in value)


def is_depth(feature: Mapping[str, Any]) -> bool:
    """Return whether a feature's images are depths: said to be, or of one channel."""
    info = feature.get("info") or feature.get("video_info") or {}
    one_channel = feature.get("dtype") == "image" and len(feature.get("shape", ())) == 3 and 1 in feature["shape"]
    return bool(one_channel or info.get("video.is_depth_map") or info.get("is_depth_map"))


def sensor_of(key: str, feature: Mapping[str, Any], hz: float) -> SensorSpec | None:
    """Return what a feature is as a sensor, None where it is none: no observation, or no numbers.

    Depth is kept as 16-bit images, as films of 16 bits, or as films that show it in colours.
    """
    shape = tuple(int(part) for part in feature["shape"])
    kind = sensor_type(feature["dtype"])
    if feature["dtype"] in ("image", "video"):
        if not is_depth(feature):
            return None
        gray = feature["dtype"] == "image" or is_gray(feature)
        height, width = shape[:2] if shape[-1] in (1, 3) else shape[-2:]
        kind, shape = ("uint16", (height, width, 1)) if gray else ("uint8", (height, width, 3))
    if kind is None or not key.startswith(OBSERVATION):
        return None
    return SensorSpec(shape, unit=RAW, hz=hz, dtype=kind)


def is_gray(feature: Mapping[str, Any]) -> bool:
    """Return whether a feature's film has one channel of 16 bits."""
    info = feature.get("info") or feature.get("video_info") or {}
    return str(info.get("video.pix_fmt", "")).startswith("gray16")


def size_of(feature: Mapping[str, Any]) -> int:
    """Return how many numbers a frame has of a feature."""
    size = 1
    for part in feature["shape"]:
        size *= int(part)
    return size


def names_of(feature: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the names of a feature's numbers, or None where there are not as many as numbers.

    They may stand in a list, in lists by group, or with their places.
    """
    names: Any = feature.get("names")
    if isinstance(names, dict) and all(isinstance(place, int) for place in names.values()):
        names = [name for _, name in sorted((place, name) for name, place in names.items())]
    elif isinstance(names, dict):
        names = [name for group in names.values() if isinstance(group, list) for name in group]
    if not isinstance(names, list) or len(names) != size_of(feature):
        return None
    return tuple(str(name) for name in names)


def image_size(path: Path, key: str, feature: Mapping[str, Any]) -> tuple[int, int]:
    """Return (height, width) of a feature's images; three channels stand first or last.

    Raises:
        DataError: the shape is another.
    """
    shape = [int(part) for part in feature["shape"]]
    if len(shape) == 3 and shape[-1] == 3:
        return shape[0], shape[1]
    if len(shape) == 3 and shape[0] == 3:
        return shape[1], shape[2]
    raise DataError(f"{path}: {key} has shape {shape}, (height, width, 3) is needed. Correct meta/info.json.")


def _light(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a table of episodes without the statistics."""
    table = read_columns(file, but="stats/")
    needed = ["episode_index", "tasks", "length", "data/chunk_index", "data/file_index"]
    absent = [name for name in needed if name not in table.schema.names]
    if absent:
        raise DataError(f"{file}: has no column {', '.join(absent)}. Restore the file.")
    return table.to_pylist()


def check_length(where: str, length: object) -> int:
    """Return an episode's length.

    Raises:
        DataError: it is no positive number.
    """
    if not isinstance(length, int) or length < 1:
        raise DataError(f"{where}: has {length} frames. Leave empty episodes out.")
    return length


def only_sentence(where: str, tasks: list[Any] | None) -> str:
    """Return the one sentence of an episode; "" where it has none.

    Raises:
        DataError: it has several.
    """
    sentences = [str(text or "") for text in tasks or [""]]
    if len(sentences) > 1:
        raise DataError(
            f"{where}: has {len(sentences)} instructions ({'; '.join(sentences)}). Split it where they change."
        )
    return sentences[0].strip()


def _row(file: Path, item: Mapping[str, Any], info: Mapping[str, Any]) -> Row:
    where = f"{file}: episode {item['episode_index']}"
    length = check_length(where, item["length"])
    sentence = only_sentence(where, item["tasks"])
    return Row(
        index=item["episode_index"],
        length=length,
        instruction=sentence,
        task=item.get(NAMED) or sentence,
        file=file_name(info["data_path"], chunk_index=item["data/chunk_index"], file_index=item["data/file_index"]),
        films={key: _film(where, item, info, key, length) for key in films_of(info)},
        terminated=bool(item.get(TERMINATED)),
        final_state=None if item.get(FINAL) is None else tuple(_floats(where, item[FINAL])),
    )


def _floats(where: str, values: object) -> Iterator[float]:
    if not isinstance(values, list) or not all(isinstance(value, int | float) for value in values):
        raise DataError(f"{where}: {FINAL} is {values!r}, a list of numbers is needed. Leave the column out.")
    yield from map(float, values)


def _film(where: str, item: Mapping[str, Any], info: Mapping[str, Any], key: str, length: int) -> tuple[str, int]:
    """Return where the film of an episode is, and which of its frames is the first."""
    names = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
    fps = float(info["fps"])
    try:
        chunk, file, start, end = [item[f"videos/{key}/{name}"] for name in names]
        first, after = round(start * fps), round(end * fps)
        name = file_name(info["video_path"], video_key=key, chunk_index=chunk, file_index=file)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where}: does not say where the film of {key} is ({error}). Restore the file.") from error
    if after - first != length:
        raise DataError(
            f"{where}: its film {key} runs from {start:g} s to {end:g} s, {after - first} frames at "
            f"{fps:g} Hz, but it has {length} frames. Film and table must come from one recording; restore both."
        )
    return name, first
