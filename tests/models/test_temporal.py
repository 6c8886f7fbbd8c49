"""What a policy remembers of its own actions: the same in the loop as in training, and never needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import matrix
from sinew.core.errors import ConfigError, SpecError
from sinew.core.rollout import run_episodes
from sinew.core.types import Batch, NumpyObservation, Policy
from sinew.data.record import Recorder
from sinew.data.store import Store
from sinew.data.windows import Windows
from sinew.models.architectures import named
from sinew.models.config import LstmConfig, PolicyConfig
from sinew.models.encoder_config import LmFusionConfig, Qwen2Config, TextSizes
from sinew.models.heads.config import AutoregressiveHeadConfig, FlowHeadConfig
from sinew.models.policy import VLAPolicy
from sinew.models.temporal import PreviousLstm, build_previous
from sinew.recipes.expert_rounds import Assisted
from toy import ToyConfig
from toy_policy import SIZE, tiny_policy

PAST = LstmConfig(ticks=3, width=8)


def remembering(**changes: object) -> VLAPolicy:
    """Return a policy whose memory has learned something."""
    policy = tiny_policy(previous=PAST, **changes)
    assert policy.before is not None
    nn.init.normal_(policy.before.leave.weight, std=0.3)
    return policy


class Overheard:
    """A policy that acts as the one it wraps and notes what it was shown when it predicted."""

    def __init__(self, policy: VLAPolicy) -> None:
        self.spec, self.seen = policy.spec, list[NumpyObservation]()
        self.policy, self.plain = policy, policy.predict_action_chunk
        policy.predict_action_chunk = self._predict  # type: ignore[method-assign]
        self.reset, self.select_action = policy.reset, policy.select_action

    def _predict(self, obs: NumpyObservation) -> NDArray[np.float32]:
        self.seen.append(obs)
        return self.plain(obs)


@pytest.mark.parametrize("helped", [False, True], ids=["alone", "helped"])
def test_the_loop_sees_what_windows_of_the_recorded_episodes_hold(helped: bool, tmp_path: Path) -> None:
    """Where an expert takes over now and then, too: what counts is what was executed."""
    config = ToyConfig(size=SIZE)
    world, expert = config.build(2), config.expert()
    listener = Overheard(remembering(execute=1))
    actor: Policy = Assisted(listener, expert, 0.3, seed=0) if helped else listener
    ids = world.states("train", "left", 3)
    recorder = Recorder(world, expert, ids, ("left",) * 3)
    run_episodes(world, actor, ids, watch=recorder)
    store = Store.create(tmp_path / "store", world.spec, world.target_names)
    episodes = recorder.episodes()
    store.append(episodes)
    assert any((one.executed != one.action).any() for one in episodes)
    windows = Windows([store], history=2, horizon=3).remembering(3)
    cut = windows.gather(np.arange(windows.num_frames)).obs
    acted = {key: value for obs in listener.seen for key, value in rows_of(obs).items()}
    assert acted == rows_of(cut)


def rows_of(obs: NumpyObservation) -> dict[bytes, bytes]:
    """Return by what a row sees what was executed before it."""
    assert obs.prev_actions is not None
    pairs = zip(obs.state, obs.images["front"], obs.prev_actions, strict=True)
    return {state.tobytes() + image.tobytes(): before.tobytes() for state, image, before in pairs}


def test_memory_begins_as_if_there_was_none_and_then_matters() -> None:
    plain = tiny_policy()
    policy = tiny_policy(previous=PAST)
    policy.load_state_dict(plain.state_dict(), strict=False)
    obs = matrix.seen(2, 3)
    before = policy.predict_action_chunk(obs)
    assert np.allclose(before, plain.predict_action_chunk(obs))
    assert policy.before is not None
    nn.init.normal_(policy.before.leave.weight, std=0.3)
    changed = dataclasses.replace(obs, prev_actions=obs.prev_actions + 0.1)  # type: ignore[operator]
    assert not np.allclose(policy.predict_action_chunk(obs), before)
    assert not np.allclose(policy.predict_action_chunk(obs), policy.predict_action_chunk(changed))


def test_in_training_rows_lose_their_past_whole_and_acting_never_does() -> None:
    policy = remembering()
    memory = policy.before
    assert isinstance(memory, PreviousLstm)
    features = dataclasses.replace(policy.encode(matrix.lesson(2, 3, 3).obs).features, tokens=torch.ones(64, 1, 16))
    past, none = torch.randn(64, 3, 2), torch.full((64, 3, 2), float("nan"))
    full, empty = (memory.eval()(features, actions).tokens for actions in (past, none))
    drawn = memory.train()(features, past).tokens
    lost = torch.isclose(drawn, empty, atol=1e-6).flatten(1).all(dim=1)
    kept = torch.isclose(drawn, full, atol=1e-6).flatten(1).all(dim=1)
    assert (lost ^ kept).all()
    assert 16 < int(lost.sum()) < 48


def test_a_relative_policy_remembers_actions_measured_from_where_it_is(build: Callable[..., VLAPolicy]) -> None:
    absolute = dataclasses.replace(build().spec, kind="absolute", action=("x", "y", "grip"))
    config = PolicyConfig(history=1, horizon=3, actions="relative", previous=PAST, width=32)
    policy = build(config, absolute)
    seen: list[Tensor] = []
    assert policy.before is not None
    policy.before.register_forward_pre_hook(lambda _module, args: seen.append(args[1]))
    state = torch.tensor([[[1.0, 2.0]]])
    executed = torch.tensor([[[1.5, 2.0, 1.0]]]).expand(1, 3, 3)
    image = torch.zeros(1, 1, 3, 16, 16, dtype=torch.uint8)
    policy.see({"front": image}, torch.ones(1, 2, dtype=torch.long), state, executed)
    assert torch.allclose(seen[0][0, 0], torch.tensor([(0.5 - 0.1) / 0.5, (0.0 - 0.1) / 0.5, 1.0]))


def test_features_kept_for_a_head_have_the_past_in_them() -> None:
    policy = remembering()
    obs = matrix.lesson(2, 3, 3).obs
    with torch.no_grad():
        condensed = policy.condense(obs)
        assert torch.equal(policy._features(condensed).tokens, policy.encode(obs).features.tokens)


def test_without_its_actions_it_refuses_to_guess() -> None:
    with pytest.raises(SpecError, match="sees the 3 actions executed before now, none came"):
        remembering().predict_action_chunk(matrix.seen(2))
    with pytest.raises(SpecError, match=r"3 actions executed before now, 5 came .*remembering\(3\)"):
        remembering().predict_action_chunk(matrix.seen(2, 5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"previous": LstmConfig(ticks=0)}, "ticks 0"),
        ({"previous": LstmConfig(dropout=1.0)}, "dropout is a share"),
        ({"previous": PAST, "head": FlowHeadConfig(expert="joint")}, "flow head reads the language model's own"),
        ({"previous": PAST, "head": AutoregressiveHeadConfig(decoder="lm")}, "Leave --policy.previous out"),
    ],
)
def test_what_cannot_remember_is_refused_with_the_reason(changes: dict[str, object], message: str) -> None:
    language = Qwen2Config(random=TextSizes(width=16, layers=1, heads=2, kv_heads=1, positions=16))
    config = PolicyConfig(language=language, fusion=LmFusionConfig(), width=16)
    with pytest.raises(ConfigError, match=message):
        build_previous(dataclasses.replace(config, **changes), 2, 16)  # type: ignore[arg-type]


def test_end_to_end_vla_learns_from_its_past() -> None:
    policy = matrix.built(named("end-to-end-vla", PolicyConfig()))
    assert policy.config.num_previous == 8
    assert policy.before is not None
    nn.init.normal_(policy.before.leave.weight, std=0.1)
    batch: Batch[Tensor] = matrix.lesson_of(policy)
    policy.train().losses(batch)["action"].sum().backward()
    assert all(value.grad is not None and bool(value.grad.any()) for value in policy.before.lstm.parameters())
