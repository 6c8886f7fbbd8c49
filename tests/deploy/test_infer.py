"""The engine acts as the policy did, without torch, and acts on nothing broken."""

from __future__ import annotations

import dataclasses
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sinew.core.errors import ConfigError, DataError, SpecError
from sinew.core.history import History
from sinew.core.rollout import run_episodes, take_rows
from sinew.deploy.infer import VLAInferenceEngine
from sinew.deploy.load import load_policy
from toy import ToyConfig
from toy_policy import Export, look

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # importing it raises ImportError
import json, pathlib, numpy as np
from sinew.core.types import NumpyObservation
from sinew.deploy.load import load_policy

data = np.load(sys.argv[2])
engine = load_policy(pathlib.Path(sys.argv[1]))
obs = NumpyObservation({"front": data["front"]}, data["state"], ("go left", "go right"))
actions = [engine.select_action(obs).tolist() for _ in range(3)]
print(json.dumps({"actions": actions, "goal": engine.points()["goal"].tolist()}))
"""


def test_the_engine_acts_where_torch_cannot_be_imported(exported: Export, tmp_path: Path) -> None:
    policy, path = exported("mlp")
    obs = look(2)
    np.savez(tmp_path / "obs.npz", front=obs.images["front"], state=obs.state)
    words = [sys.executable, "-c", WITHOUT_TORCH, str(path), str(tmp_path / "obs.npz")]
    found = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    policy.reset()
    wanted = [policy.select_action(obs) for _ in range(3)]
    assert np.allclose(found["actions"], wanted, atol=1e-6)
    assert np.allclose(found["goal"], policy.points()["goal"], atol=1e-5)


def test_an_episode_goes_as_with_torch(exported: Export) -> None:
    policy, path = exported("mlp")
    world = ToyConfig(size=8).build(3)
    ids = [*world.states("seen", "left", 4), *world.states("seen", "right", 4)]
    trails: list[list[np.ndarray]] = []
    for actor in (policy, load_policy(path)):
        seen: list[np.ndarray] = []
        run_episodes(world, actor, ids, watch=lambda tick, seen=seen: seen.append(tick.actions))
        trails.append(seen)
    assert len(trails[0]) == len(trails[1])
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(*trails, strict=True))


def test_rows_keep_their_own_memory(exported: Export) -> None:
    engine = VLAInferenceEngine(exported("mlp")[1])
    obs, odd = look(5), np.array([1, 4])
    first = engine.select_action(obs)
    engine.reset([4])
    again = engine.select_action(take_rows(obs, odd), odd)
    chunk = engine.predict_action_chunk(History(2).push(obs))
    assert np.allclose(first, chunk[:, 0], atol=1e-6)
    assert np.allclose(again, [chunk[1, 1], chunk[4, 0]], atol=1e-6)


def test_noise_is_seeded_and_can_be_given(exported: Export) -> None:
    policy, path = exported("flow")
    engine, obs = VLAInferenceEngine(path, seed=3), look(2)
    first, second = engine.predict_action_chunk(obs), engine.predict_action_chunk(obs)
    assert not np.array_equal(first, second)
    noise = np.random.default_rng(3).standard_normal((2, 3, 2), dtype=np.float32)
    assert np.array_equal(engine.predict_action_chunk(obs, noise), first)
    assert np.allclose(policy.predict_action_chunk(obs, noise), first, atol=1e-6)
    assert np.array_equal(pickle.loads(pickle.dumps(engine)).predict_action_chunk(obs), first)
    with pytest.raises(SpecError, match="noise of shape"):
        engine.predict_action_chunk(obs, noise[:1])


def test_actions_stay_within_the_bounds(exported: Export) -> None:
    engine = VLAInferenceEngine(exported("flow")[1])
    chunk = engine.predict_action_chunk(look(2), np.full((2, 3, 2), 50.0, dtype=np.float32))
    assert (chunk[..., 0] == 0.25).all()
    assert set(chunk[..., 1].ravel().tolist()) <= {0.0, 1.0}


def test_a_broken_observation_is_refused_and_not_remembered(exported: Export) -> None:
    engine, obs = VLAInferenceEngine(exported("mlp")[1]), look(2)
    engine.select_action(obs)
    before = engine.history.state_dict()
    broken = obs.state.copy()
    broken[1, 0, 1] = np.nan
    with pytest.raises(DataError, match="last_move"):
        engine.select_action(dataclasses.replace(obs, state=broken))
    with pytest.raises(SpecError, match="8 x 8 pixels"):
        engine.select_action(dataclasses.replace(obs, images={"front": obs.images["front"][..., :4]}))
    assert all(np.array_equal(before[name], array) for name, array in engine.history.state_dict().items())


def test_a_device_that_is_not_there_is_refused(exported: Export) -> None:
    with pytest.raises(ConfigError, match="onnxruntime has cpu"):
        VLAInferenceEngine(exported("mlp")[1], device="tpu")
