"""A run that begins with a policy that was taken over: all of it comes along, for its robot and for another."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import small_openvla
from from_lerobot import laid
from sinew.core.types import CameraSpec, RobotSpec
from sinew.data.config import DataConfig
from sinew.data.store import Store
from sinew.models.policy import VLAPolicy
from sinew.models.towers import HEADS
from sinew.presets.bc import preset
from sinew.run import InitConfig, RunConfig
from sinew.run.adopting import adopt
from sinew.run.beginning import inherited
from sinew.run.lessons import build, lessons
from sinew.run.preflight import check_states
from sinew.run.recordings import read_in
from small_smolvla import VLM, given
from toy_data import random_episode

OTHER = RobotSpec(
    embodiment="crane",
    cameras={"top": CameraSpec(16, 24)},
    state=("x", "hook"),
    state_units=("m", "1"),
    action=("x", "hook"),
    action_units=("m", "1"),
    low=(-1.0, 0.0),
    high=(1.0, 1.0),
    hz=10.0,
    kind="absolute",
    binary=("hook",),
)


def recorded(path: Path, spec: RobotSpec) -> Path:
    """Write a few noisy episodes of a robot and return where."""
    store = Store.create(path / "store", spec)
    shapes = {name: (5, 3, camera.height, camera.width) for name, camera in spec.cameras.items()}
    images = {name: np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8) for name, shape in shapes.items()}
    random = np.random.default_rng(1)
    made = [
        random_episode(
            number,
            5,
            spec=spec,
            images=images,
            targets={},
            instruction="hoist",
            state=random.normal(size=(5, spec.state_size)).astype(np.float32),
            action=random.uniform(0, 1, (5, spec.action_size)).round().clip(spec.low, spec.high).astype(np.float32),
            executed=np.zeros((5, spec.action_size), np.float32),
        )
        for number in range(4)
    ]
    store.append(made)
    store.unlock()
    return store.path


def config(data: Path, policy: VLAPolicy, init: Path, *, other: bool) -> RunConfig:
    """Return a run that learns on."""
    begun = dataclasses.replace(preset("tiny"), data=DataConfig(path=str(data)), policy=policy.config)
    return dataclasses.replace(begun, init=InitConfig(str(init), other_robot=other))


def smolvla(place: Path) -> VLAPolicy:
    """Return a SmolVLA that was taken over."""
    return adopt(given(place / "theirs"), place / "ours", None, str(VLM))


def pi0(place: Path) -> VLAPolicy:
    """Return a pi0 that was taken over."""
    golden = VLM.parents[1] / "pi0"
    return adopt(laid(golden / "whole", place / "theirs"), place / "ours", None, str(golden / "vlm"))


def openvla(place: Path) -> VLAPolicy:
    """Return an OpenVLA that was taken over."""
    return adopt(small_openvla.given(place / "theirs"), place / "ours", None, dataset="bridge_orig")


@pytest.mark.parametrize(
    ("taken_over", "other"),
    [(smolvla, False), (smolvla, True), (pi0, False), (pi0, True), (openvla, False)],
    ids=["smolvla", "smolvla, another robot", "pi0", "pi0, another robot", "openvla"],
)
def test_nothing_of_it_is_left_behind(
    taken_over: Callable[[Path], VLAPolicy], other: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for width in small_openvla.WIDTHS:
        monkeypatch.setitem(HEADS, width, 2)
    source = taken_over(tmp_path)
    spec = OTHER if other else source.spec
    known, recordings = read_in(config(recorded(tmp_path, spec), source, tmp_path / "ours", other=other), tmp_path)
    check_states(known, spec)
    found = lessons(known, recordings)
    policy, taken = build(known, found)
    assert taken is not None
    assert taken.fresh == ()
    assert policy.tokenizer.get_vocab() == source.tokenizer.get_vocab()
    assert policy.spec.action == spec.action
    batch = found.windows(held_out=False).gather(np.arange(3)).map(torch.from_numpy)
    assert policy.losses(batch)["action"].isfinite().all()


def test_what_can_be_built_anew_is(tmp_path: Path) -> None:
    source = adopt(given(tmp_path / "theirs"), tmp_path / "ours", None, str(VLM))
    init = InitConfig(str(tmp_path / "ours"))
    assert inherited(init, source.config) is not None
    assert inherited(None, source.config) is None
    assert inherited(init, dataclasses.replace(source.config, fusion=None)) is None
    words = dataclasses.replace(source.config.language, path="somewhere/else")  # type: ignore[call-arg]
    assert inherited(init, dataclasses.replace(source.config, language=words)) is None
