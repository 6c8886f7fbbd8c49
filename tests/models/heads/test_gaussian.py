"""The Gaussian head: its likelihood is the worked number, and imitation fits the mean apart from the deviations."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sinew.core.types import Batch, Features, RobotSpec
from sinew.models.heads.config import ONE_TOKEN, GaussianHeadConfig
from sinew.models.heads.gaussian import GaussianHead

Draw = Callable[..., Batch[Tensor]]


@pytest.fixture
def head(two_cameras: RobotSpec) -> GaussianHead:
    """A head whose mean and logits are all 0, for two continuous actions and a two-valued one."""
    head = GaussianHead(GaussianHeadConfig(hidden=(4,), least_std=0.1, most_std=0.5), 8, 3, two_cameras, ONE_TOKEN)
    for parameter in head.net.parameters():
        torch.nn.init.zeros_(parameter)
    return head


def test_log_prob_is_the_worked_number(head: GaussianHead) -> None:
    """Values 0.5 and -1 at std 0.5 and a fair coin: -1/2 - 2 - 2 ln(0.5 sqrt(2 pi)) + ln(1/2)."""
    drawn = torch.tensor([0.5, -1.0, 1.0]).expand(1, 3, 3)
    found = head.log_prob(Features(torch.zeros(1, 1, 8)), {"drawn": drawn})
    wanted = -2.5 - 2 * math.log(0.5 * math.sqrt(2 * math.pi)) + math.log(0.5)
    torch.testing.assert_close(found, torch.full((1, 3), wanted))


def test_draws_have_the_deviations_that_the_head_says(head: GaussianHead) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        head.log_std.view(3, 3)[1, 0] = math.log(0.2)
        head.log_std.view(3, 3)[2, 0] = math.log(0.01)
        drawn = head.rollout(Features(torch.zeros(20_000, 1, 8)))[1]["drawn"]
    spread = drawn.std(dim=0)
    torch.testing.assert_close(spread[:, 0], torch.tensor([0.5, 0.2, 0.1]), rtol=0.03, atol=0)
    torch.testing.assert_close(drawn[..., 2].mean(dim=0), torch.full((3,), 0.5), rtol=0.03, atol=0)


def test_imitation_fits_the_deviations_to_what_the_mean_misses_within_their_range(
    head: GaussianHead, batch: Draw
) -> None:
    """Misses of 0.2 in the first value are found; 3.0 in the second counts as 0.5, the most."""
    drawn = batch()
    actions = torch.tensor([0.2, 3.0, 1.0]).expand(6, 3, 3) * torch.tensor([1.0, -1.0]).repeat(3)[:, None, None]
    drawn = dataclasses.replace(drawn, actions=actions)
    optimiser = torch.optim.Adam([head.log_std], lr=0.02)
    for _ in range(400):
        optimiser.zero_grad()
        head.loss(Features(torch.zeros(6, 1, 8)), drawn).mean().backward()
        optimiser.step()
    torch.testing.assert_close(head.std[:, 0].detach(), torch.full((3,), 0.2), rtol=0.02, atol=0)
    torch.testing.assert_close(head.std[:, 1].detach(), torch.full((3,), 0.5), rtol=0.02, atol=0)


def test_the_deviations_neither_pull_on_the_mean_nor_show_in_the_loss(head: GaussianHead, batch: Draw) -> None:
    drawn, features = batch(), Features(torch.randn(6, 1, 8, generator=torch.Generator().manual_seed(0)))
    found: list[Tensor] = []
    for log_std in (0.0, -2.0):
        head.zero_grad()
        torch.nn.init.constant_(head.log_std, log_std)
        loss = head.loss(features, drawn)
        loss.mean().backward()
        found += [loss.detach(), *[value.grad.clone() for value in head.net.parameters() if value.grad is not None]]
    half = len(found) // 2
    assert half > 1
    assert all(torch.equal(one, two) for one, two in zip(found[:half], found[half:], strict=True))


def test_noise_moves_the_sample_by_deviations_and_leaves_two_valued_actions(head: GaussianHead) -> None:
    features, noise = Features(torch.zeros(2, 1, 8)), torch.ones(2, 3, 3)
    torch.testing.assert_close(head.sample(features, noise)[..., :2].detach(), torch.full((2, 3, 2), 0.5))
    assert torch.equal(head.sample(features, noise)[..., 2], head.sample(features)[..., 2])
    assert not head.sample(features)[..., :2].any()
