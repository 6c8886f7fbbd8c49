"""An export is held against the policy that it was made from."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sinew.core.errors import CheckpointError, ConfigError
from sinew.deploy.artefact import Manifest, open_artefact
from sinew.deploy.exporters import EXPORTERS
from sinew.deploy.infer import VLAInferenceEngine
from sinew.evaluate.compare import compare
from sinew.evaluate.plan import Listing
from sinew.evaluate.success import measure
from sinew.models.policy import VLAPolicy
from sinew.run.exporting import Seeded, export_run
from sinew.run.measuring import policy_and_config
from toy import ToyConfig
from toy_policy import Export, save_run, tiny_policy


@pytest.fixture
def copying(exported: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a format that hands out what was exported before, which takes no seconds."""

    def copy(policy: VLAPolicy, path: Path, *, source: Mapping[str, Any]) -> Manifest:
        assert policy.config.head.kind == "mlp"
        assert not [value for value in source.values() if isinstance(value, str) and "/" in value]
        shutil.copytree(exported("mlp")[1], path)
        return open_artefact(path)

    monkeypatch.setitem(EXPORTERS, "copy", copy)


@pytest.mark.usefixtures("copying")
def test_the_same_policy_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export_run(save_run(tmp_path / "run"), to="copy", out=None, episodes=8)
    assert VLAInferenceEngine(tmp_path / "run" / "copy").manifest.history == 2
    shown = capsys.readouterr().out
    checkpoint, place = tmp_path / "run" / "checkpoints" / "last", tmp_path / "run" / "copy"
    assert shown.startswith(f"exporting {checkpoint} to {place}\n")
    assert "points.goal" in shown
    assert "Closed loop: not run, no world is known." in shown


@pytest.mark.usefixtures("copying")
def test_another_policy_is_found_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last = save_run(tmp_path) / "checkpoints" / "last"
    policy = tiny_policy()
    policy.normalizer.get_buffer("state_mean").add_(0.01)
    policy.save_pretrained(last)
    assert not export_run(last, to="copy", out=None, episodes=0)
    assert "do not use this artefact" in capsys.readouterr().out
    assert (last.parent / "last-copy" / "manifest.json").exists()


@pytest.mark.parametrize("head", ["mlp", "flow"])
def test_episodes_end_alike_with_the_same_noise(exported: Export, head: str) -> None:
    policy, path = exported(head)
    engine, world = VLAInferenceEngine(path), ToyConfig(size=8)
    listings = [Listing("seen", task, "none", world.build(1).states("seen", task, 6)) for task in ("left", "right")]
    sides = [Seeded(side, engine.manifest) for side in (policy, engine)]
    cells = [measure(side, world, listings, rows=4, seed=2) for side in sides]
    assert [[outcome.total_reward for outcome in cell.outcomes] for cell in cells[0]] == [
        [outcome.total_reward for outcome in cell.outcomes] for cell in cells[1]
    ]
    total = compare(*cells)[-1]
    assert (total.n, total.only_first, total.only_second) == (12, 0, 0)


def test_an_artefact_is_measured_in_the_world_that_it_names(exported: Export, tmp_path: Path) -> None:
    shutil.copytree(exported("mlp")[1], tmp_path / "a")
    place, config = policy_and_config(tmp_path / "a")
    assert (place, config.name, config.env) == (tmp_path / "a", "toy", None)


def test_wrong_formats_and_places_are_refused(exported: Export, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is: onnx"):
        export_run(tmp_path, to="onxx", out=None, episodes=0)
    with pytest.raises(CheckpointError, match="no policy here"):
        export_run(tmp_path, to="onnx", out=None, episodes=0)
    with pytest.raises(CheckpointError, match="is an artefact already"):
        export_run(exported("mlp")[1], to="onnx", out=None, episodes=0)
