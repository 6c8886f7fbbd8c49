"""An artefact is whole or refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sinew.core.errors import CheckpointError, SinewError
from sinew.deploy.artefact import (
    MANIFEST,
    TOKENIZER,
    Graph,
    Manifest,
    Port,
    Scale,
    is_artefact,
    new_artefact,
    open_artefact,
    read_manifest,
    seal,
)
from toy import ToyConfig


def write(path: Path, file: str = "policy.onnx") -> Manifest:
    """Write an artefact whose graph is no graph."""
    port = Port("state", "float32", ("batch", 1, 2))
    with new_artefact(path) as directory:
        (directory / "policy.onnx").write_bytes(bytes(range(64)))
        (directory / TOKENIZER).write_text("{}")
        return seal(
            directory,
            Manifest(
                format="onnx",
                runner="single",
                graphs={"policy": Graph(file, (port,), (port,))},
                robot=ToyConfig().spec,
                history=1,
                horizon=2,
                execute=1,
                max_tokens=3,
                points={"goal": 1},
                normalizer={"state": Scale((0.1, 1e-7), (1.0, 3.0))},
                source={"run": "toy", "world": {"kind": "toy"}},
            ),
        )


def test_what_was_written_opens(tmp_path: Path) -> None:
    wanted = write(tmp_path / "a")
    assert open_artefact(tmp_path / "a") == wanted
    assert set(wanted.sha256) == {"policy.onnx", TOKENIZER}


def test_a_flipped_bit_is_refused_wherever_it_is(tmp_path: Path) -> None:
    write(tmp_path)
    random = np.random.default_rng(0)
    for file in sorted(tmp_path.iterdir()):
        content = file.read_bytes()
        for place in random.permutation(len(content))[:200].tolist():
            bit = 1 << int(random.integers(8))
            file.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
            with pytest.raises(CheckpointError):
                open_artefact(tmp_path)
        file.write_bytes(content)
    open_artefact(tmp_path)


def test_a_changed_file_and_a_missing_one_are_named(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "policy.onnx").write_bytes(b"other")
    with pytest.raises(CheckpointError, match=r"policy\.onnx is not what was exported"):
        open_artefact(tmp_path)
    (tmp_path / "policy.onnx").unlink()
    with pytest.raises(CheckpointError, match=r"policy\.onnx missing"):
        open_artefact(tmp_path)


def test_a_newer_schema_asks_for_an_upgrade(tmp_path: Path) -> None:
    write(tmp_path)
    content = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps({**content, "schema_version": 2, "more": []}))
    with pytest.raises(CheckpointError, match="schema 2, this sinew reads up to 1"):
        open_artefact(tmp_path)


def test_a_graph_outside_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "policy.onnx").write_bytes(bytes(range(64)))
    write(tmp_path / "a", file="../policy.onnx")
    with pytest.raises(CheckpointError, match=r"\.\./policy\.onnx"):
        open_artefact(tmp_path / "a")


def test_no_artefact_is_refused(tmp_path: Path) -> None:
    assert not is_artefact(tmp_path)
    with pytest.raises(CheckpointError, match="no such file"):
        read_manifest(tmp_path)
    (tmp_path / MANIFEST).write_text("[1]")
    with pytest.raises(CheckpointError, match="checksum"):
        read_manifest(tmp_path)


def test_only_an_artefact_is_replaced(tmp_path: Path) -> None:
    write(tmp_path / "a")
    before = read_manifest(tmp_path / "a")
    with pytest.raises(SinewError), new_artefact(tmp_path / "a") as directory:
        (directory / "missing").read_text()
    assert open_artefact(tmp_path / "a") == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear")
    with pytest.raises(CheckpointError, match="no artefact"):
        write(tmp_path / "mine")
    assert (tmp_path / "mine" / "letter").read_text() == "dear"
