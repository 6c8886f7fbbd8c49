"""The table of contents of a LeRobot v2.1 or v2.0 data set: a file and a film of its own for each episode.

What differs from v3.0::

    meta/tasks.jsonl        {"task_index": 0, "task": "..."} a line
    meta/episodes.jsonl     {"episode_index": 0, "tasks": ["..."], "length": 120} a line
    data/chunk-000/episode_000000.parquet
    videos/chunk-000/<key>/episode_000000.mp4

The two versions differ in where the statistics lie, which are not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sinew.core.errors import DataError
from sinew.data.formats.json_rows import json_rows
from sinew.data.formats.lerobot_meta import NAMED, Row, check_length, file_name, films_of, only_sentence

LONGEST = 1 << 20
"""Characters of a line at most."""


def read_sentences(path: Path) -> dict[int, str]:
    """Return the sentences by task_index.

    Raises:
        DataError: the list is missing, damaged or of another layout.
    """
    lines = _lines(path / "meta" / "tasks.jsonl", {"task_index": int, "task": str})
    return {item["task_index"]: item["task"] for _, item in lines}


def read_rows(path: Path, info: Mapping[str, Any]) -> Iterator[Row]:
    """Yield the episodes in their order.

    Raises:
        DataError: the list is missing, damaged, or does not agree with info.json.
    """
    file = path / "meta" / "episodes.jsonl"
    items = list(_lines(file, {"episode_index": int, "tasks": list, "length": int}))
    if len(items) != info["total_episodes"]:
        raise DataError(
            f"{path}: meta/info.json counts {info['total_episodes']} episodes, {file.name} lists {len(items)}. "
            "The recording was not finished, or lines are missing; restore them."
        )
    size = info.get("chunks_size")
    if not isinstance(size, int) or size < 1:
        raise DataError(f"{path}: meta/info.json: chunks_size is {size}, a positive number is needed.")
    for where, item in sorted(items, key=lambda pair: pair[1]["episode_index"]):
        yield _row(where, item, info, item["episode_index"] // size)


def _row(where: str, item: Mapping[str, Any], info: Mapping[str, Any], chunk: int) -> Row:
    index = item["episode_index"]
    where = f"{where}: episode {index}"
    films = films_of(info)
    pattern = info.get("video_path")
    if films and not isinstance(pattern, str):
        raise DataError(f"{where}: meta/info.json does not say where the film of {films[0]} is. Restore the file.")
    sentence = only_sentence(where, item["tasks"])
    parts = {"episode_chunk": chunk, "episode_index": index}
    return Row(
        index=index,
        length=check_length(where, item["length"]),
        instruction=sentence,
        task=item.get(NAMED) or sentence,
        file=file_name(info["data_path"], **parts),
        films={key: (file_name(str(pattern), video_key=key, **parts), 0) for key in films},
    )


def _lines(file: Path, fields: Mapping[str, type]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of a file with one a line, each with where it stands."""
    for number, item in enumerate(json_rows(file, longest=LONGEST), 1):
        wrong = [name for name, kind in fields.items() if not isinstance(item.get(name), kind)]
        if wrong:
            raise DataError(
                f"{file}: line {number}: {', '.join(wrong)} is missing or of the wrong kind. Restore the file."
            )
        yield f"{file}: line {number}", item
