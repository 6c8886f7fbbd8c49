"""The mixture head: its density is torch's, per step or as a whole, squashed or not, and it keeps two ways apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, TransformedDistribution
from torch.distributions.transforms import AffineTransform, TanhTransform

from sinew.core.types import Batch, Features, RobotSpec
from sinew.models.heads.config import ONE_TOKEN, GaussianHeadConfig
from sinew.models.heads.mixture import MixtureHead
from sinew.models.squash import Squash

Draw = Callable[..., Batch[Tensor]]


def head_with(spec: RobotSpec, **changes: bool) -> MixtureHead:
    torch.manual_seed(0)
    config = GaussianHeadConfig(hidden=(16,), mixture=3, std="features", **changes)  # type: ignore[arg-type]
    return MixtureHead(config, 8, 3, spec, ONE_TOKEN)


def test_the_steps_scores_add_up_to_the_density_of_the_chunk(two_cameras: RobotSpec) -> None:
    head, features = head_with(two_cameras), Features(torch.randn(5, 1, 8))
    with torch.no_grad():
        _, trace = head.rollout(features)
        odds, mean, std, logits = head(features)
        each = Independent(Normal(mean[..., :2], std[..., :2]), 2)
        wanted = MixtureSameFamily(Categorical(logits=odds), each).log_prob(trace["drawn"][..., :2])
        bits = torch.distributions.Bernoulli(logits=logits[..., 2]).log_prob(trace["drawn"][..., 2]).sum(dim=1)
        torch.testing.assert_close(head.log_prob(features, trace).sum(dim=1), wanted + bits, rtol=0, atol=1e-5)


def test_squashed_draws_have_torch_s_density_and_stay_in_reach() -> None:
    squash = Squash(2, on=True)
    squash.fit(torch.tensor([-1.0, 0.0]), torch.tensor([3.0, 1.0]))
    free = torch.tensor([[0.3, -0.4], [25.0, 0.1]], dtype=torch.float64)
    found = squash(free)
    assert ((found >= torch.tensor([-1.2, -0.05]) - 1e-6) & (found <= torch.tensor([3.2, 1.05]) + 1e-6)).all()
    half, middle = torch.tensor([2.2, 0.55]).double(), torch.tensor([1.0, 0.5]).double()
    chain = [AffineTransform(0.0, 1 / half), TanhTransform(), AffineTransform(middle, half)]
    theirs = TransformedDistribution(Normal(torch.zeros(2).double(), 1.0), chain).log_prob(found[0])
    ours = Normal(0.0, 1.0).log_prob(free[0]) - squash.log_slope(free)[0]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    torch.testing.assert_close(squash.back(found[0]), free[0], rtol=0, atol=1e-3)


@pytest.mark.parametrize("tanh", [False, True])
def test_two_ways_are_kept_apart(two_cameras: RobotSpec, batch: Draw, tanh: bool) -> None:
    head = head_with(two_cameras, tanh=tanh)
    head.fit_range(-torch.ones(3), torch.ones(3))
    side = torch.tensor([1.0, -1.0]).repeat(3)[:, None, None]
    drawn = batch()
    actions = torch.cat([0.8 * side.expand(6, 3, 2), drawn.actions[..., 2:]], dim=-1)
    drawn = dataclasses.replace(drawn, actions=actions)
    optimiser = torch.optim.Adam(head.parameters(), lr=0.02)
    features = Features(torch.ones(6, 1, 8))
    for _ in range(150):
        optimiser.zero_grad()
        head.loss(features, drawn).mean().backward()
        optimiser.step()
    with torch.no_grad():
        found = head.rollout(Features(torch.ones(400, 1, 8)))[0][..., :2].flatten(1)
    left = (found < -0.4).all(dim=1).float().mean()
    right = (found > 0.4).all(dim=1).float().mean()
    assert float(left) > 0.3
    assert float(right) > 0.3
    assert float(left + right) > 0.95
