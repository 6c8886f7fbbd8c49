"""Which policy a run improves: its own copy, known by its bytes, of the world's robot, with a head to draw from."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from sinew.cli.main import main
from sinew.core.errors import CheckpointError, ConfigError, SpecError
from sinew.core.rundir import RunDir
from sinew.core.types import Statistics
from sinew.models.config import AnyHeadConfig, FlowHeadConfig, GaussianHeadConfig, MlpHeadConfig
from sinew.models.language import train_tokenizer
from sinew.models.policy import VLAPolicy
from sinew.presets import PRESETS
from sinew.recipes.config import GrpoConfig
from sinew.run import RunConfig
from sinew.run.parts import run_path
from sinew.run.start import FILES, check_start, keep_start, start_from

PRESET = "tabletop-grpo"


def save_policy(path: Path, head: AnyHeadConfig | None = None, *, image_size: int = 32) -> Path:
    """Write an untrained policy for the preset's robot where a run keeps its last checkpoint."""
    base = PRESETS[PRESET]("tiny")
    world = dataclasses.replace(base.world, image_size=image_size)
    config = dataclasses.replace(base.policy, head=head or GaussianHeadConfig(hidden=(16,)), execute=1)
    torch.manual_seed(0)
    policy = VLAPolicy(config, world.build(1).spec, train_tokenizer(["lift the red thing"]))
    sizes = {name.replace("targets_", "targets."): size for name, size in policy.normalizer.sizes.items()}
    one = {name: np.ones(size, dtype=np.float32) for name, size in sizes.items()}
    policy.fit_normalizer({name: Statistics(0 * o, o, -o, o, -o, o, 9) for name, o in one.items()})
    place = path / "checkpoints" / "last"
    place.mkdir(parents=True)
    policy.save_pretrained(place)
    return path


@pytest.fixture
def start(tmp_path: Path) -> Path:
    return save_policy(tmp_path / "start")


def config() -> RunConfig:
    base = PRESETS[PRESET]("tiny")
    return dataclasses.replace(base, env=dataclasses.replace(base.world, image_size=32))


def test_parts_and_weights_are_the_policys_and_the_chunk_is_executed_as_the_preset_says(start: Path) -> None:
    found = start_from(config(), start)
    assert found.policy.head == GaussianHeadConfig(hidden=(16,))
    assert found.policy.execute == config().policy.execute > 1
    check_start(found)


def test_the_run_is_known_by_the_policys_bytes_wherever_it_lies(start: Path, tmp_path: Path) -> None:
    one = run_path(start_from(config(), start), tmp_path)
    shutil.copytree(start, tmp_path / "elsewhere")
    assert run_path(start_from(config(), tmp_path / "elsewhere"), tmp_path) == one
    other = save_policy(tmp_path / "other", GaussianHeadConfig(hidden=(16,), most_std=0.2))
    assert run_path(start_from(config(), other), tmp_path) != one


def test_the_run_keeps_its_own_copy_of_the_start(start: Path, tmp_path: Path) -> None:
    found = start_from(config(), start)
    with RunDir(tmp_path / "run") as rundir:
        rundir.claim(found)
        copy = keep_start(found, rundir)
        shutil.rmtree(start)
        assert keep_start(found, rundir) == copy
    assert sorted(path.name for path in copy.iterdir()) == sorted(FILES)


def test_a_start_whose_bytes_have_changed_is_refused(start: Path, tmp_path: Path) -> None:
    found = start_from(config(), start)
    weights = start / "checkpoints" / "last" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with RunDir(tmp_path / "run") as rundir:
        rundir.claim(found)
        with pytest.raises(CheckpointError, match="not those that this run was to start from"):
            keep_start(found, rundir)


def test_a_policy_of_another_robot_is_refused_with_both_sides(tmp_path: Path) -> None:
    start = save_policy(tmp_path / "start", image_size=48)
    with pytest.raises(SpecError, match=r"(?s)cameras.front.height.*48.*32.*--from"):
        check_start(start_from(config(), start))


def test_a_head_that_draws_nothing_is_refused_with_those_that_do_and_how_to_train_one(tmp_path: Path) -> None:
    start = save_policy(tmp_path / "start", MlpHeadConfig(hidden=(16,)))
    with pytest.raises(ConfigError, match=r"mlp head.*gaussian, flow.*--policy.head.kind gaussian"):
        start_from(config(), start)


def test_draws_without_noise_are_refused(tmp_path: Path) -> None:
    start = save_policy(tmp_path / "start", FlowHeadConfig(width=16, layers=1, noise=0.0))
    with pytest.raises(ConfigError, match=r"--policy.head.noise 0"):
        start_from(config(), start)


def test_without_a_start_there_is_nothing_to_improve(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="--from RUN"):
        check_start(config())
    assert main(["train", PRESET]) == 2
    assert "--from RUN" in capsys.readouterr().err


def test_a_recipe_that_improves_nothing_takes_no_start(start: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "tabletop", "--from", str(start)]) == 2
    assert "trained with dagger, which improves no policy" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "value"), [("group", 1), ("scenes", 0), ("clip_low", 1.5), ("kl", -0.1)])
def test_settings_out_of_range_are_named(start: Path, name: str, value: float) -> None:
    found = start_from(config(), start)
    assert isinstance(found.recipe, GrpoConfig)
    wrong = dataclasses.replace(found, recipe=dataclasses.replace(found.recipe, **{name: value}))
    with pytest.raises(ConfigError, match=f"--recipe.{name.replace('_', '-')} {value}"):
        check_start(wrong)


def test_the_flag_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", PRESET, "--help"]) == 0
    assert "\n  --from " in capsys.readouterr().out
