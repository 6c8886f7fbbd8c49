"""What every head promises of its features, and of its face for reinforcement learning, run over the dictionary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from sinew.core.errors import ConfigError
from sinew.core.types import ActionHead, Batch, Features, RobotSpec, StochasticHead
from sinew.models.config import (
    HEADS,
    AnyHeadConfig,
    FlowHeadConfig,
    GaussianHeadConfig,
    LanguageConfig,
    MlpHeadConfig,
    PolicyConfig,
)
from sinew.models.faces import RangedHead
from sinew.models.heads.config import AutoregressiveHeadConfig, DiffusionHeadConfig, FeatureLayout
from sinew.models.policy import VLAPolicy

Build = Callable[..., VLAPolicy]
Draw = Callable[..., Batch[Tensor]]
STOCHASTIC = [name for name, kind in HEADS.items() if kind.stochastic]
HORIZON = 3
VARIANTS: dict[str, AnyHeadConfig] = {
    **{name: kind() for name, kind in HEADS.items()},
    "mse": MlpHeadConfig(loss="mse"),
    "tanh": GaussianHeadConfig(std="features", tanh=True),
    "mixture": GaussianHeadConfig(mixture=3),
    "flow-cross": FlowHeadConfig(expert="cross", width=64),
    "diffusion-unet": DiffusionHeadConfig(expert="unet", width=8, layers=1),
    "diffusion-cross": DiffusionHeadConfig(expert="cross", width=64, prediction="epsilon"),
    "fast": AutoregressiveHeadConfig(tokens="fast"),
}


def head_on_tokens(kind: str, spec: RobotSpec) -> nn.Module:
    """Return a head for several tokens of width 8 that knows between which values actions lie."""
    torch.manual_seed(0)
    head = VARIANTS[kind].build(8, HORIZON, spec, FeatureLayout(many=True))
    if isinstance(head, RangedHead):
        head.fit_range(-torch.ones(3), torch.ones(3))
    return head


@pytest.mark.parametrize("kind", VARIANTS)
def test_any_number_of_tokens_will_do_and_masked_ones_change_nothing(
    two_cameras: RobotSpec, batch: Draw, kind: str
) -> None:
    head, tokens = cast("ActionHead", head_on_tokens(kind, two_cameras)), torch.randn(6, 5, 8)
    mask = torch.arange(5) < torch.tensor([[5], [3], [1], [5], [2], [4]])
    noise = torch.randn(6, HORIZON, 3)
    found: list[tuple[Tensor, Tensor]] = []
    for seen in (tokens, tokens.masked_fill(~mask[..., None], 30.0)):
        torch.manual_seed(1)
        features = Features(seen, mask)
        found.append((head.loss(features, batch()).detach(), head.sample(features, noise).detach()))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)
    assert head.sample(Features(tokens[:, :1]), noise).shape == (6, HORIZON, 3)


@pytest.mark.parametrize("kind", [name for name, config in VARIANTS.items() if config.stochastic])
def test_recomputed_scores_are_the_stored_ones(two_cameras: RobotSpec, kind: str) -> None:
    head = cast("StochasticHead", head_on_tokens(kind, two_cameras))
    tokens, mask = torch.randn(6, 5, 8), torch.arange(5) < torch.tensor([[5], [3], [1], [5], [2], [4]])
    features = Features(tokens, mask)
    with torch.no_grad():
        _, trace = head.rollout(features)
        stored = head.log_prob(features, trace)
        rows = [head.log_prob(Features(tokens[n : n + 1], mask[n : n + 1]), part(trace, n)) for n in range(6)]
    assert stored.isfinite().all()
    assert float(((stored - torch.cat(rows)).abs() / stored.abs().clamp(min=1.0)).max()) <= 1e-5


def part(trace: Mapping[str, Tensor], row: int) -> dict[str, Tensor]:
    """Return one row of a trace."""
    return {name: value[row : row + 1] for name, value in trace.items()}


def policy_with(build: Build, head: AnyHeadConfig) -> VLAPolicy:
    """Return a small policy with this head."""
    config = PolicyConfig(head=head, language=LanguageConfig(width=16, layers=1, heads=2), width=32, horizon=HORIZON)
    return build(config).eval()


@pytest.mark.parametrize("kind", STOCHASTIC)
def test_a_draw_is_in_bounds_two_valued_where_the_spec_says_and_never_twice_the_same(
    build: Build, batch: Draw, kind: str
) -> None:
    policy, obs = policy_with(build, HEADS[kind]()), batch().obs
    torch.manual_seed(0)
    one, two = policy.rollout(obs)[0], policy.rollout(obs)[0]
    assert one.shape == (6, HORIZON, 3)
    assert (one[..., :2].abs() <= 0.1 + 1e-7).all()
    assert set(one[..., 2].flatten().tolist()) == {0.0, 1.0}
    assert not torch.equal(one, two)


@pytest.mark.parametrize("kind", STOCHASTIC)
def test_the_same_draw_scores_the_same_in_any_company(build: Build, batch: Draw, kind: str) -> None:
    policy, obs = policy_with(build, HEADS[kind]()), batch().obs
    torch.manual_seed(0)
    _, trace = policy.rollout(obs)
    stored = policy.log_prob(obs, trace).detach()
    assert stored.isfinite().all()
    alone = batch(rows=6).obs.map(lambda array: array[2:3])
    alone = type(alone)(alone.images, alone.state, obs.instruction[2:3])
    again = policy.log_prob(alone, {name: value[2:3] for name, value in trace.items()})
    torch.testing.assert_close(again[0].detach(), stored[2], rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", STOCHASTIC)
def test_a_condensed_observation_draws_and_scores_as_the_full_one(build: Build, batch: Draw, kind: str) -> None:
    policy, obs = policy_with(build, HEADS[kind]()), batch().obs
    with torch.no_grad():
        small = policy.condense(obs)
        assert not small.images
        torch.manual_seed(0)
        chunk, trace = policy.rollout(obs)
        torch.manual_seed(0)
        assert torch.equal(policy.rollout(small)[0], chunk)
        assert torch.equal(policy.log_prob(small, trace), policy.log_prob(obs, trace))


@pytest.mark.parametrize("kind", STOCHASTIC)
def test_a_step_that_was_not_executed_reaches_no_unit_that_counts(build: Build, batch: Draw, kind: str) -> None:
    """Other actions in the later steps of the trace leave every counted unit alone, for what the head draws last."""
    policy, obs = policy_with(build, HEADS[kind]()), batch().obs
    torch.manual_seed(0)
    _, trace = policy.rollout(obs)
    alive = torch.ones(6, HORIZON, dtype=torch.bool)
    alive[3:, 1:] = False
    mask = policy.executed(2, alive)
    log_prob = policy.log_prob(obs, trace)
    assert mask.shape == log_prob.shape
    units = mask.shape[1] // HORIZON
    assert mask.sum(dim=1).tolist() == [2 * units] * 3 + [units] * 3
    name = "bits" if "bits" in trace else "drawn"
    changed = trace[name].clone()
    changed[:, 2, 2] = 1 - changed[:, 2, 2]
    other = policy.log_prob(obs, {**trace, name: changed})
    assert torch.equal(log_prob[mask], other[mask])
    assert not torch.equal(log_prob, other)


@pytest.mark.parametrize("kind", STOCHASTIC)
def test_the_policy_gradient_reaches_every_weight_of_the_head(build: Build, batch: Draw, kind: str) -> None:
    policy, obs = policy_with(build, HEADS[kind]()), batch().obs
    torch.manual_seed(0)
    _, trace = policy.rollout(obs)
    policy.log_prob(obs, trace).sum().backward()
    assert [name for name, value in policy.head.named_parameters() if value.grad is None or not value.grad.any()] == []


@pytest.mark.parametrize("kind", STOCHASTIC)
def test_draws_and_scores_on_the_meta_device(build: Build, batch: Draw, kind: str) -> None:
    policy, obs = policy_with(build, HEADS[kind]()).to("meta"), batch().obs.map(lambda array: array.to("meta"))
    chunk, trace = policy.rollout(obs)
    assert chunk.shape == (6, HORIZON, 3)
    log_prob = policy.log_prob(obs, trace)
    assert log_prob.device.type == "meta"
    assert log_prob.shape == policy.executed(2, torch.ones(6, HORIZON, dtype=torch.bool, device="meta")).shape


@pytest.mark.parametrize("kind", sorted(set(HEADS) - set(STOCHASTIC)))
def test_a_head_without_that_face_is_refused_with_those_that_have_it(build: Build, batch: Draw, kind: str) -> None:
    with pytest.raises(ConfigError, match=f"the {kind} head.*{', '.join(STOCHASTIC)}"):
        policy_with(build, HEADS[kind]()).rollout(batch().obs)


@pytest.mark.parametrize(
    "config",
    [GaussianHeadConfig(hidden=(16,)), FlowHeadConfig(width=16, layers=1, steps=3)],
    ids=lambda config: config.kind,
)
def test_the_score_is_the_density_of_what_is_drawn(config: AnyHeadConfig, two_cameras: RobotSpec) -> None:
    """The gradient of a log-probability has the expectation zero, which holds for no other score."""
    torch.manual_seed(0)
    head = config.build(8, HORIZON, two_cameras)
    features = Features(torch.randn(1, 1, 8).expand(20_000, 1, 8))
    with torch.no_grad():
        _, trace = head.rollout(features)
    slope: dict[float, float] = {}
    for shift in (0.0, 0.3):
        head.zero_grad()
        head.log_prob(features, {name: value + shift for name, value in trace.items()}).sum(dim=1).mean().backward()
        slope[shift] = max(float(value.grad.abs().max()) for value in head.parameters() if value.grad is not None)
    assert slope[0.0] < 0.1 * slope[0.3]
