"""Small sets of images and text for tests, written by hand."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from sinew.data.formats.image_text import ImageText, Turn
from sinew.data.formats.pictures import encode


def image(number: int, height: int = 6, width: int = 8) -> Any:  # noqa: ANN401
    """Return a picture, (3, h, w)."""
    return np.random.default_rng(number).integers(0, 256, (3, height, width), dtype=np.uint8)


def png(number: int) -> bytes:
    """Return a picture as a file."""
    return encode(np.ascontiguousarray(image(number).transpose(1, 2, 0)))


def records(count: int = 4) -> list[ImageText]:
    """Return records with one image, none, two of different sizes, and one again."""
    made = [
        ImageText("one", (image(0),), (Turn("human", "<image>\nWhat is it?"), Turn("gpt", "A ramp."))),
        ImageText(
            "text", (), (Turn("human", "What is 2 + 2?"), Turn("gpt", "4"), Turn("human", "?"), Turn("gpt", "!"))
        ),
        ImageText("two", (image(1), image(2, 9, 5)), (Turn("human", "<image> or <image>?"), Turn("gpt", "Übel."))),
    ]
    while len(made) < count:
        number = len(made)
        made.append(
            ImageText(f"r{number}", (image(number),), (Turn("human", "<image>"), Turn("gpt", f"It is {number}.")))
        )
    return made[:count]


def row(number: int, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a record of LLaVA's JSON."""
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": f"It is {number}."}]
    return {"id": f"r{number}", "image": f"{number}.png", "conversations": turns} | changes


def llava(folder: Path, rows: list[Any], name: str = "chat.json") -> Path:
    """Write a JSON file of records and the images 0.png .. 2.png beside it; return the file."""
    (folder / "images").mkdir(parents=True)
    for number in range(3):
        (folder / "images" / f"{number}.png").write_bytes(png(number))
    text = "\n".join(map(json.dumps, rows)) if name.endswith("l") else json.dumps(rows)
    (folder / name).write_text(text)
    return folder / name


def shard(path: Path, files: dict[str, bytes]) -> Path:
    """Write a tar file."""
    with tarfile.open(path, "w") as file:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path
