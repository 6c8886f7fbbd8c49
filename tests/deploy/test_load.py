"""Whatever holds a policy opens; whatever does not says what would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sinew.core.errors import CheckpointError, ConfigError
from sinew.deploy.infer import VLAInferenceEngine
from sinew.deploy.load import load_policy
from toy_policy import Export, look, save_run, tiny_policy


def test_a_run_means_its_last_checkpoint_unless_one_was_chosen(tmp_path: Path) -> None:
    wanted = tiny_policy().select_action(look(3))
    last = save_run(tmp_path) / "checkpoints" / "last"
    for place in (tmp_path, last):
        policy = load_policy(place, device="cpu")
        assert np.array_equal(policy.select_action(look(3)), wanted)
        assert policy.points()["goal"].shape == (3, 1)
    chosen = last.with_name("chosen")
    chosen.mkdir()
    tiny_policy("gaussian").save_pretrained(chosen)
    assert np.array_equal(load_policy(tmp_path).select_action(look(3)), tiny_policy("gaussian").select_action(look(3)))


def test_an_artefact_opens_in_the_engine(exported: Export) -> None:
    policy = load_policy(exported("mlp")[1])
    assert isinstance(policy, VLAInferenceEngine)
    assert policy.history.ticks == 2


def test_a_directory_without_a_policy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no policy here"):
        load_policy(tmp_path)
    with pytest.raises(CheckpointError, match="no such directory"):
        load_policy(tmp_path / "nowhere")


def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    save_run(tmp_path)
    with pytest.raises(ConfigError, match="tpu"):
        load_policy(tmp_path, device="tpu")
