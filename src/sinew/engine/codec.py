"""Exact storage of a state tree as safetensors beside JSON; nothing in it can run code."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sinew.core.errors import CheckpointError
from sinew.core.files import read_json
from sinew.engine.distributed import world
from sinew.engine.shards import is_shared, read_shards, write_shards

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

SCHEMA = 1
FILE = "tensors.safetensors"
Tree = Any
"""Tensors, NumPy arrays, None, bool, int, float and str in dicts, lists and tuples."""


def encode(tree: Tree) -> tuple[dict[str, Tensor], Any]:
    """Split a tree into named tensors and JSON that refers to them.

    What JSON has no word for becomes a mapping with one key that starts with a dollar sign: ``{"$tensor": name}``,
    ``$shards`` (name, size and type of a tensor that ranks share), ``$array``, ``$tuple``, ``$float`` (NaN,
    infinities), ``$dict`` (other keys than strings).

    Returns:
        Copies on the CPU, and of what ranks share this rank's part as it is; and the JSON.

    Raises:
        CheckpointError: a value of another type, named by its place.
    """
    tensors: dict[str, Tensor] = {}
    return tensors, _encode(tree, "", tensors)


def decode(tensors: Mapping[str, Tensor], content: Any) -> Tree:  # noqa: ANN401  (any JSON value)
    """Rebuild what ``encode`` split."""
    if isinstance(content, list):
        return [decode(tensors, item) for item in content]
    if isinstance(content, dict):
        tag = next(iter(content), "")
        if tag.startswith("$"):
            return _decode_tagged(tensors, tag, content[tag])
        return {key: decode(tensors, value) for key, value in content.items()}
    return content


def write_tree(directory: Path, tree: Tree) -> None:
    """Write ``tensors.safetensors`` and ``state.json`` into an existing directory (the caller makes it durable).

    Every rank must call it: each writes its part of what they share into ``shards/``, rank 0 all the rest.
    """
    tensors, content = encode(tree)
    write_shards(directory / "shards", {name: item for name, item in tensors.items() if is_shared(item)})
    if not world().is_main:
        return
    save_file({name: item for name, item in tensors.items() if not is_shared(item)}, directory / FILE)
    text = json.dumps({"schema_version": SCHEMA, "state": content}, allow_nan=False)
    (directory / "state.json").write_text(text, encoding="utf-8")


def read_tree(directory: Path, mesh: DeviceMesh | None = None) -> Tree:
    """Read back what ``write_tree`` wrote, tensors on the CPU.

    Args:
        directory: that was written, by however many ranks.
        mesh: of the ranks that share tensors now; None to get them whole.

    Raises:
        CheckpointError: the files are missing, broken or of another version.
        DataError: the JSON is missing or broken.
    """
    record = read_json(directory / "state.json")
    version = record.get("schema_version") if isinstance(record, dict) else None
    if version != SCHEMA:
        raise CheckpointError(
            f"{directory}: schema_version is {version}, this version reads {SCHEMA}. Use the version that wrote it."
        )
    try:
        tensors = load_file(directory / FILE)
        shared = dict(_shared(record["state"]))
        return decode({**tensors, **read_shards(directory / "shards", shared, mesh)}, record["state"])
    except (OSError, SafetensorError, KeyError) as error:
        raise CheckpointError(f"{directory}: cannot be read ({error}). Remove it to use an older one.") from error


def num_bytes(tree: Tree) -> int:
    """Return how much the tensors and arrays of a tree take [bytes]."""
    if isinstance(tree, Mapping):
        return sum(num_bytes(value) for value in tree.values())
    if isinstance(tree, list | tuple):
        return sum(num_bytes(value) for value in tree)
    return tree.nbytes if isinstance(tree, Tensor | np.ndarray) else 0


def _shared(content: Any) -> Iterator[tuple[str, tuple[list[int], torch.dtype]]]:  # noqa: ANN401
    """Yield name, size and type of every tensor that ranks shared."""
    if isinstance(content, list):
        for item in content:
            yield from _shared(item)
    elif isinstance(content, dict):
        if "$shards" in content:
            name, size, kind = content["$shards"]
            yield name, (size, getattr(torch, kind))
        else:
            yield from _shared(list(content.values()))


def _encode(value: Tree, place: str, tensors: dict[str, Tensor]) -> Any:  # noqa: ANN401  (any JSON value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor | np.ndarray):
        return _encode_numbers(value, place, tensors)
    if isinstance(value, list | tuple):
        items = [_encode(item, f"{place}.{index}", tensors) for index, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, Mapping):
        return _encode_mapping(value, place, tensors)
    raise CheckpointError(
        f"{place.lstrip('.') or 'state'}: a {type(value).__name__} cannot be saved. "
        "state_dict may hold tensors, arrays, numbers, strings, None, dicts, lists and tuples."
    )


def _encode_numbers(value: Any, place: str, tensors: dict[str, Tensor]) -> dict[str, Any]:  # noqa: ANN401
    """Store a private, contiguous copy under a new name; a snapshot must not change while training goes on."""
    name = f"{len(tensors)}{place}"
    if is_shared(value):
        tensors[name] = value.detach()
        return {"$shards": [name, list(value.shape), str(value.dtype).removeprefix("torch.")]}
    if isinstance(value, Tensor):
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"$tensor": name}
    tensors[name] = torch.from_numpy(np.array(value, order="C", copy=True))
    return {"$array": name}


def _encode_mapping(value: Mapping[Any, Any], place: str, tensors: dict[str, Tensor]) -> Any:  # noqa: ANN401
    items = [(key, _encode(item, f"{place}.{key}", tensors)) for key, item in value.items()]
    if all(isinstance(key, str) and not key.startswith("$") for key, _ in items):
        return dict(items)
    return {"$dict": [[_encode(key, place, tensors), item] for key, item in items]}


def _decode_tagged(tensors: Mapping[str, Tensor], tag: str, value: Any) -> Tree:  # noqa: ANN401
    if tag == "$tensor":
        return tensors[value]
    if tag == "$array":
        return tensors[value].numpy()
    if tag == "$shards":
        return tensors[value[0]]
    if tag == "$tuple":
        return tuple(decode(tensors, item) for item in value)
    if tag == "$dict":
        return {decode(tensors, key): decode(tensors, item) for key, item in value}
    if tag == "$float":
        return float(value)
    raise CheckpointError(f"unknown mark {tag!r} in a saved state. A newer version wrote it; use that one.")
