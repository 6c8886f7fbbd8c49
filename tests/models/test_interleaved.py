"""The interleaved expert: who sees whom, and what padding inside does to a flow head that has it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sinew.core.errors import ConfigError
from sinew.core.types import Batch, Features, RobotSpec
from sinew.models.heads.config import CacheLayout, FeatureLayout, FlowHeadConfig
from sinew.models.heads.flow import FlowHead
from sinew.models.interleaved import InterleavedField, waves
from sinew.models.interleaved_config import InterleavedConfig

Draw = Callable[..., Batch[Tensor]]
CACHE = CacheLayout(layers=3, heads=2, size=8, rope=10_000.0)
LAYOUT = FeatureLayout(many=True, cache=CACHE)


def features(rows: int = 6) -> Features:
    """Return random tokens with keys and values of three layers."""
    random = torch.Generator().manual_seed(0)
    cache = tuple(
        (torch.randn(rows, 2, 4, 8, generator=random), torch.randn(rows, 2, 4, 8, generator=random)) for _ in range(3)
    )
    return Features(torch.randn(rows, 4, 8, generator=random), cache=cache)


def head_of(spec: RobotSpec, padded: int | None = 7, **changed: object) -> FlowHead:
    """Return a flow head with a small interleaved expert."""
    torch.manual_seed(0)
    sizes = InterleavedConfig(hidden=24, padded=padded)
    config = FlowHeadConfig(width=16, steps=3, expert="interleaved", interleaved=sizes, times="beta")
    built = dataclasses.replace(config, **changed).build(8, 3, spec, LAYOUT)
    assert isinstance(built, FlowHead)
    return built


@pytest.mark.parametrize("every", [0, 1, 2])
def test_a_step_sees_those_before_it_where_layers_share_and_none_elsewhere(every: int) -> None:
    torch.manual_seed(0)
    field = InterleavedField(3, 16, InterleavedConfig(hidden=24, every=every), CACHE)
    memory = field.remember(features(1), torch.zeros(1, 8))
    chunk = torch.randn(1, 4, 3, requires_grad=True)
    field(memory, chunk, torch.full((1,), 0.5))[0, 2].sum().backward()
    assert chunk.grad is not None
    moved = chunk.grad[0].abs().sum(dim=1) > 0
    assert moved.tolist() == ([True, True, True, False] if every else [False, False, True, False])


def test_waves_go_from_the_shortest_period_to_the_longest() -> None:
    found = waves(torch.tensor([0.25]), 4, (0.5, 2.0))[0]
    turns = torch.tensor([0.25 / 0.5, 0.25 / 2.0], dtype=torch.float64) * 2 * math.pi
    torch.testing.assert_close(found, torch.cat([turns.sin(), turns.cos()]))


def test_of_the_values_inside_a_robot_gets_its_own(two_cameras: RobotSpec) -> None:
    head = head_of(two_cameras)
    seen, noise = features(), torch.randn(6, 3, 7)
    whole = head.sample(seen, noise)
    assert whole.shape == (6, 3, 3)
    torch.manual_seed(1)
    one = head.sample(seen, noise[..., :3])
    torch.manual_seed(1)
    assert torch.equal(one, head.sample(seen, noise[..., :3]))  # the others are drawn
    assert not torch.equal(one, whole)
    torch.manual_seed(1)
    chunk, trace = head.rollout(seen)
    assert chunk.shape == (6, 3, 3)
    torch.testing.assert_close(head.log_prob(seen, trace), head.log_prob(seen, trace))
    assert head.log_prob(seen, trace).isfinite().all()


def test_the_values_inside_that_no_robot_has_are_learned_to_be_zero(two_cameras: RobotSpec, batch: Draw) -> None:
    head, given = head_of(two_cameras), batch()
    noise, time = torch.randn(6, 3, 7), torch.rand(6)
    losses = [head.loss_at(features(), given, other, time) for other in (noise, 2 * noise)]
    assert not torch.allclose(*losses)
    masked = dataclasses.replace(given, action_mask=torch.ones(6, 3, dtype=torch.bool))
    torch.testing.assert_close(head.loss_at(features(), masked, noise, time), losses[0])


def test_it_overfits_one_batch(two_cameras: RobotSpec, batch: Draw) -> None:
    head, given = head_of(two_cameras), batch()
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-2)
    noise, time = torch.randn(6, 3, 7), torch.rand(6)
    losses: list[float] = []
    for _ in range(60):
        loss = head.loss_at(features(), given, noise, time).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_beta_times_are_noisier_and_never_quite_the_actions(two_cameras: RobotSpec, batch: Draw) -> None:
    times: list[Tensor] = []

    class Watched(FlowHead):
        def loss_at(self, features: Features, batch: Batch[Tensor], noise: Tensor, time: Tensor) -> Tensor:
            times.append(time)
            return super().loss_at(features, batch, noise, time)

    config = FlowHeadConfig(width=16, steps=3, times="beta")
    head = Watched(config, 8, 3, two_cameras, FeatureLayout())
    torch.manual_seed(0)
    with torch.no_grad():
        for _ in range(100):
            head.loss(Features(torch.zeros(6, 1, 8)), batch())
    found = torch.cat(times)
    assert abs(float(found.mean()) - (1 - 0.001 - 0.999 * 0.6)) < 0.04  # 0.6 is the mean of that beta
    assert float(found.min()) >= 0
    assert float(found.max()) <= 0.999


def test_it_runs_on_meta(two_cameras: RobotSpec, batch: Draw) -> None:
    head, bare = head_of(two_cameras).to("meta"), features()
    cache = tuple((key.to("meta"), value.to("meta")) for key, value in bare.cache or ())
    loss = head.loss(Features(bare.tokens.to("meta"), cache=cache), batch().map(lambda array: array.to("meta")))
    assert loss.shape == (6,)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda spec: head_of(spec, padded=2), "has 3 action values. Set at least 3"),
        (
            lambda spec: head_of(spec, interleaved=InterleavedConfig(heads=3)),
            "multiple of the language model's 2 heads",
        ),
        (lambda spec: head_of(spec, width=15), "even width"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(
    build: Callable[[RobotSpec], FlowHead], said: str, two_cameras: RobotSpec
) -> None:
    with pytest.raises(ConfigError, match=said):
        build(two_cameras)
