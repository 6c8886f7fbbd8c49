"""The flow head's draws: an SDE with the marginals of the ODE, and two-valued actions left out of the field."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sinew.core.types import Features, RobotSpec
from sinew.models.fields import Memory
from sinew.models.heads.config import ONE_TOKEN, FlowHeadConfig
from sinew.models.heads.flow import FlowHead

MEAN, STD = 1.5, 0.4


def head_with(spec: RobotSpec, *, steps: int, noise: float) -> FlowHead:
    torch.manual_seed(0)
    return FlowHead(FlowHeadConfig(width=16, layers=1, steps=steps, noise=noise), 8, 3, spec, ONE_TOKEN)


def exact(memory: Memory, chunk: Tensor, time: Tensor) -> Tensor:
    """The velocity from N(0, 1) to N(MEAN, STD): E[a - n | x_t] of independent normals a and n, in closed form."""
    del memory
    t = time[:, None, None]
    variance = (1 - t) ** 2 + (t * STD) ** 2
    return MEAN + (t * STD**2 - (1 - t)) / variance * (chunk - t * MEAN)


@pytest.mark.parametrize("noise", [0.3, 0.7])
def test_noisy_draws_have_the_distribution_that_the_field_leads_to(two_cameras: RobotSpec, noise: float) -> None:
    head = head_with(two_cameras, steps=100, noise=noise)
    head.velocity = exact  # type: ignore[method-assign]
    with torch.no_grad():
        chain = head.rollout(Features(torch.zeros(3000, 1, 8)))[1]["chain"]
    assert chain.shape == (3000, 101, 3, 3)
    halfway = math.sqrt(0.25 + 0.25 * STD**2)
    assert float(chain[:, 50].mean()) == pytest.approx(0.5 * MEAN, abs=0.02)
    assert float(chain[:, 50].std()) == pytest.approx(halfway, abs=0.02)
    assert float(chain[:, -1].mean()) == pytest.approx(MEAN, abs=0.02)
    assert float(chain[:, -1].std()) == pytest.approx(STD, abs=0.02)


def test_without_noise_a_transition_is_the_euler_step_of_sampling(two_cameras: RobotSpec) -> None:
    head = head_with(two_cameras, steps=4, noise=1e-4)
    features = Features(torch.randn(5, 1, 8))
    torch.manual_seed(1)
    with torch.no_grad():
        drawn = head.rollout(features)[0]
        torch.manual_seed(1)
        noise = torch.randn(5, 3, 3)
        sampled = head.sample(features, noise)
    torch.testing.assert_close(drawn[..., :2], sampled[..., :2], rtol=0, atol=1e-3)


def test_a_transition_is_the_worked_number(two_cameras: RobotSpec) -> None:
    """K = 4, step 2: t = 1/2, sigma^2 = 0.36, v = 1, x = 2: score -3, mean 2 + (1 - 0.54) / 4, std sqrt(0.09)."""
    head = head_with(two_cameras, steps=4, noise=0.6)
    head.velocity = lambda memory, chunk, time: torch.ones_like(chunk)  # type: ignore[method-assign]
    mean, std = head.transition((torch.zeros(1, 8),), torch.full((1, 3, 3), 2.0), torch.tensor([2]))
    torch.testing.assert_close(mean, torch.full((1, 3, 3), 2.115))
    torch.testing.assert_close(std, torch.full((1, 1, 1), 0.3))


def test_the_field_neither_sees_nor_scores_two_valued_actions(two_cameras: RobotSpec) -> None:
    head = head_with(two_cameras, steps=4, noise=0.5)
    features = Features(torch.randn(5, 1, 8))
    with torch.no_grad():
        _, trace = head.rollout(features)
        before = head.log_prob(features, trace)
        start = trace["chain"][:, 0]
        memory = head.remember(features)
        moved = head.velocity(memory, start, torch.zeros(5))
        trace["chain"][..., 2] = 1e3
        assert torch.equal(head.velocity(memory, trace["chain"][:, 0], torch.zeros(5)), moved)
        assert torch.equal(head.log_prob(features, trace), before)


def test_weights_of_older_checkpoints_are_found(two_cameras: RobotSpec) -> None:
    """The field was part of the head once: enter.weight is field.enter.weight now."""
    head, other = head_with(two_cameras, steps=4, noise=0.5), head_with(two_cameras, steps=4, noise=0.5)
    older = {f"head.{name.removeprefix('field.')}": 2 * value for name, value in head.state_dict().items()}
    torch.nn.ModuleDict({"head": other}).load_state_dict(older)
    assert torch.equal(other.field.enter.weight, 2 * head.field.enter.weight)
