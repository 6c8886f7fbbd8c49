"""State trees come back exactly, types included."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from sinew.core.errors import CheckpointError
from sinew.engine import rng
from sinew.engine.codec import read_tree, write_tree


def test_every_kind_of_leaf_comes_back_exactly(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    tree = {
        "numbers": [1, 2.5, True, None, "words", math.pi, 1e-300, -0.0],
        "odd": (float("inf"), float("-inf"), {"$key": 1, 3: {"a": ()}}),
        "tensors": {
            "view": shared.view(2, 3).T,
            "part": shared[1:3],
            "scalar": torch.tensor(3),
            "none": torch.zeros(0, 2),
            "bf16": torch.ones(2, dtype=torch.bfloat16),
            "mask": torch.tensor([True, False]),
        },
        "arrays": {"u32": np.array([1, 2**32 - 1], dtype=np.uint32), "zero": np.array(2.0), "f": np.ones((2, 3)).T},
    }
    write_tree(tmp_path, tree)
    found = read_tree(tmp_path)
    assert found["numbers"] == tree["numbers"]
    assert [type(item) for item in found["numbers"]] == [type(item) for item in tree["numbers"]]
    assert found["odd"] == tree["odd"]
    for name, tensor in tree["tensors"].items():
        assert found["tensors"][name].dtype == tensor.dtype
        assert torch.equal(found["tensors"][name], tensor)
    for name, array in tree["arrays"].items():
        assert found["arrays"][name].dtype == array.dtype
        assert np.array_equal(found["arrays"][name], array)


def test_nan_comes_back(tmp_path: Path) -> None:
    write_tree(tmp_path, {"x": float("nan")})
    assert math.isnan(read_tree(tmp_path)["x"])


def test_random_generators_go_on_where_they_were_saved(tmp_path: Path) -> None:
    import random

    rng.seed_all(5)
    np.random.standard_normal()  # noqa: NPY002  (leaves a cached second draw behind)
    write_tree(tmp_path, rng.capture())
    first = (random.random(), np.random.standard_normal(), torch.rand(()).item())  # noqa: NPY002
    rng.restore(read_tree(tmp_path))
    assert (random.random(), np.random.standard_normal(), torch.rand(()).item()) == first  # noqa: NPY002


def test_a_snapshot_does_not_change_with_the_weights(tmp_path: Path) -> None:
    from sinew.engine.codec import decode, encode

    weight = torch.zeros(2)
    tensors, content = encode({"w": weight})
    weight += 1
    assert decode(tensors, content)["w"].tolist() == [0, 0]


def test_what_cannot_be_saved_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"a\.0: a set"):
        write_tree(tmp_path, {"a": [{1, 2}]})


def test_another_version_is_refused(tmp_path: Path) -> None:
    write_tree(tmp_path, {})
    file = tmp_path / "state.json"
    file.write_text(file.read_text().replace('"schema_version": 1', '"schema_version": 9'))
    with pytest.raises(CheckpointError, match="schema_version is 9"):
        read_tree(tmp_path)
