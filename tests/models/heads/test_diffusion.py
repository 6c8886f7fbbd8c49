"""The diffusion head: its draws have the distribution that the network says, DDPM's or DDIM's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sinew.core.errors import ConfigError
from sinew.core.types import Features, RobotSpec
from sinew.models.fields import Memory
from sinew.models.heads.config import ONE_TOKEN, DiffusionHeadConfig
from sinew.models.heads.diffusion import DiffusionHead

MEAN, STD = 1.5, 0.4
FEATURES = Features(torch.zeros(3000, 1, 8))


def exact_head(spec: RobotSpec, **changes: float) -> DiffusionHead:
    """A head whose network knows E[x | x_k] of x from N(MEAN, STD), in closed form."""
    torch.manual_seed(0)
    config = DiffusionHeadConfig(width=16, layers=1, length=200, prediction="sample", **changes)  # type: ignore[arg-type]
    head = DiffusionHead(config, 8, 3, spec, ONE_TOKEN)

    def say(memory: Memory, chunk: Tensor, step: Tensor) -> Tensor:
        del memory
        alpha = head.schedule.alphas[step][:, None, None]
        gain = alpha.sqrt() * STD**2 / (alpha * STD**2 + 1 - alpha)
        return MEAN + gain * (chunk - alpha.sqrt() * MEAN)

    head.say = say  # type: ignore[method-assign]
    return head


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_samples_have_the_distribution_that_the_network_says(two_cameras: RobotSpec, eta: float) -> None:
    head = exact_head(two_cameras, steps=200, eta=eta)
    with torch.no_grad():
        found = head.sample(FEATURES)[..., :2]
    assert float(found.mean()) == pytest.approx(MEAN, abs=0.02)
    assert float(found.std()) == pytest.approx(STD, abs=0.02)


def test_scored_draws_are_ddpm_s_with_a_floor_under_the_deviation(two_cameras: RobotSpec) -> None:
    with torch.no_grad():
        chain = exact_head(two_cameras, steps=200, noise=0.0).rollout(FEATURES)[1]["chain"]
    assert chain.shape == (3000, 201, 3, 3)
    assert float(chain[:, -1].mean()) == pytest.approx(MEAN, abs=0.02)
    assert float(chain[:, -1].std()) == pytest.approx(STD, abs=0.02)
    head = exact_head(two_cameras, steps=10, noise=0.1)
    _, std = head.transition((torch.zeros(2, 8),), torch.zeros(2, 3, 3), torch.tensor([19, 99]))
    here, there = head.schedule.alphas[99], head.schedule.alphas[79]
    ddpm = ((1 - there) / (1 - here) * (1 - here / there)).sqrt()
    torch.testing.assert_close(std.flatten(), torch.stack([torch.tensor(0.1), ddpm]))


def test_estimates_are_kept_within_the_range_of_the_data(two_cameras: RobotSpec) -> None:
    head = exact_head(two_cameras, steps=5)
    head.fit_range(-torch.ones(3), torch.ones(3))
    with torch.no_grad():
        assert float(head.sample(FEATURES)[..., :2].max()) <= 1.0


def test_the_same_noise_gives_the_same_chunk(two_cameras: RobotSpec) -> None:
    head, noise = exact_head(two_cameras, steps=5), torch.randn(3000, 3, 3)
    assert torch.equal(head.sample(FEATURES, noise), head.sample(FEATURES, noise))
    assert not torch.equal(head.sample(FEATURES, noise), head.sample(FEATURES))


def test_more_steps_than_it_was_trained_with_are_refused(two_cameras: RobotSpec) -> None:
    with pytest.raises(ConfigError, match="take 1 to 200"):
        exact_head(two_cameras, steps=201)
