"""Parts of a whole vision-language model, Llava's layout or PaliGemma's, read without building the rest of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sinew.core.errors import CheckpointError
from sinew.core.files import read_json

if TYPE_CHECKING:
    from torch import Tensor

ONE_FILE = "model.safetensors"
Part = Literal["vision", "language", "projector"]
PREFIXES: dict[Part, tuple[str, ...]] = {
    "vision": ("vision_tower.vision_model.", "vision_tower.", "model.vision_tower."),
    "language": ("language_model.model.", "model.language_model."),
    "projector": ("multi_modal_projector.", "model.multi_modal_projector."),
}
"""What the names of a part's weights have begun with over the years."""


def is_llava(place: Path) -> bool:
    """Return whether a directory holds a whole model in Llava's layout."""
    return _model_type(place) == "llava"


def is_whole(place: Path) -> bool:
    """Return whether a directory holds a whole vision-language model whose parts can be read."""
    return _model_type(place) in ("llava", "paligemma")


def read_part(place: Path, part: Part) -> dict[str, Tensor]:
    """Return the weights of one part in float32, by their names within it; of all shards, if there are several.

    Raises:
        CheckpointError: there are none, or a file cannot be read.
    """
    from safetensors import SafetensorError

    try:
        found = _inner(_weights(place), PREFIXES[part])
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{place}: its weights cannot be read ({error}). Fetch it again.") from error
    if not found:
        raise CheckpointError(f"{place}: holds no weights of a {part} part. Name a whole vision-language model.")
    return found


def _model_type(place: Path) -> str | None:
    return read_json(place / "config.json").get("model_type") if (place / "config.json").is_file() else None


def _weights(place: Path) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """Yield every name of all shards with a function that reads its weights."""
    from safetensors import safe_open

    index = place / "model.safetensors.index.json"
    files = sorted(set(json.loads(index.read_text())["weight_map"].values())) if index.is_file() else [ONE_FILE]
    for file in files:
        with safe_open(place / file, framework="pt") as weights:
            for name in list(weights.keys()):
                yield name, partial(weights.get_tensor, name)


def _inner(weights: Iterator[tuple[str, Callable[[], Tensor]]], prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """Return those whose names begin with one of the prefixes, without it, in float32."""
    found: dict[str, Tensor] = {}
    for name, read in weights:
        fitting = [prefix for prefix in prefixes if name.startswith(prefix)]
        if fitting:
            found[name.removeprefix(max(fitting, key=len))] = read().float()
    return found
