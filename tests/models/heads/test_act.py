"""ACT's head: a style that is read in training alone, places of tokens that matter, padding that does not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sinew.core.types import Batch, Features, Observation, RobotSpec
from sinew.models.config import ActHeadConfig
from sinew.models.heads.act import ActHead

WIDTH, HORIZON, ROWS, TOKENS = 16, 4, 5, 6
SMALL = ActHeadConfig(heads=2, hidden=24, encoder_layers=1, posterior_layers=1, latent=3, dropout=0.0)


@pytest.fixture
def build(two_cameras: RobotSpec) -> Callable[..., ActHead]:
    """Return a function that builds a small head."""

    def build(**changed: object) -> ActHead:
        torch.manual_seed(0)
        head = dataclasses.replace(SMALL, **changed).build(WIDTH, HORIZON, two_cameras)
        assert isinstance(head, ActHead)
        return head

    return build


@pytest.fixture
def batch(two_cameras: RobotSpec) -> Batch[Tensor]:
    """Return rows at unit scale, the first of which ends after two steps."""
    random = torch.Generator().manual_seed(1)
    actions = torch.randn(ROWS, HORIZON, two_cameras.action_size, generator=random)
    actions[..., -1] = (actions[..., -1] > 0).float()
    is_pad = torch.zeros(ROWS, HORIZON, dtype=torch.bool)
    is_pad[0, 2:] = True
    state = torch.randn(ROWS, 1, two_cameras.state_size, generator=random)
    return Batch(
        obs=Observation({}, state, ("",) * ROWS),
        actions=actions,
        is_pad=is_pad,
        weight=torch.ones(ROWS),
        ids=torch.arange(ROWS),
    )


def features() -> Features:
    """Return tokens with places."""
    random = torch.Generator().manual_seed(2)
    return Features(
        torch.randn(ROWS, TOKENS, WIDTH, generator=random), places=torch.randn(TOKENS, WIDTH, generator=random)
    )


def test_padded_steps_change_neither_loss_nor_style(build: Callable[..., ActHead], batch: Batch[Tensor]) -> None:
    head = build()
    other = batch.actions.clone()
    other[0, 2:, :2] += 3.0
    losses: list[Tensor] = []
    for actions in (batch.actions, other):
        torch.manual_seed(0)
        losses.append(head.loss(features(), dataclasses.replace(batch, actions=actions)))
    assert torch.equal(losses[0], losses[1])
    assert losses[0].shape == (ROWS,)


def test_the_style_carries_what_the_scene_does_not_tell(build: Callable[..., ActHead], batch: Batch[Tensor]) -> None:
    """Rows alike in scene but not in their actions: a free style learns them apart, a mean can not."""
    alike = Features(features().tokens[:1].expand(ROWS, -1, -1))
    same = dataclasses.replace(batch.obs, state=torch.zeros_like(batch.obs.state))
    ends: dict[bool, float] = {}
    for variational in (True, False):
        head = build(variational=variational, kl=0.0)
        optim = torch.optim.Adam(head.parameters(), lr=2e-2)
        for _ in range(60):
            torch.manual_seed(3)
            loss = head.loss(alike, dataclasses.replace(batch, obs=same)).mean()
            optim.zero_grad()
            loss.backward()
            optim.step()
        ends[variational] = float(loss.detach())
    assert ends[True] < 0.5 * ends[False]


def test_a_dear_style_says_nothing(build: Callable[..., ActHead], batch: Batch[Tensor]) -> None:
    head = build(kl=100.0)
    assert head.posterior is not None
    optim = torch.optim.Adam(head.parameters(), lr=2e-2)
    for _ in range(60):
        optim.zero_grad()
        head.loss(features(), batch).mean().backward()
        optim.step()
    mean, log_variance = head.posterior(batch)
    assert mean.abs().max() < 0.2
    assert log_variance.abs().max() < 0.3


def test_acting_is_without_chance_and_overfits_a_batch(build: Callable[..., ActHead], batch: Batch[Tensor]) -> None:
    head = build(variational=False)
    optim = torch.optim.Adam(head.parameters(), lr=2e-2)
    for _ in range(80):
        optim.zero_grad()
        head.loss(features(), batch).mean().backward()
        optim.step()
    chunk = head.eval().sample(features())
    assert torch.equal(chunk, head.sample(features(), torch.randn_like(chunk)))
    real = ~batch.is_pad
    assert (chunk[..., :2] - batch.actions[..., :2])[real].abs().mean() < 0.15
    assert torch.equal(chunk[..., 2][real], batch.actions[..., 2][real])


def test_where_tokens_lie_matters_and_masked_ones_do_not(build: Callable[..., ActHead]) -> None:
    head, seen = build().eval(), features()
    swapped = dataclasses.replace(seen, places=None if seen.places is None else seen.places.flip(0))
    assert not torch.allclose(head.sample(seen), head.sample(swapped))
    mask = torch.ones(ROWS, TOKENS, dtype=torch.bool)
    mask[:, -2:] = False
    other = seen.tokens.clone()
    other[:, -2:] = 9.0
    one, two = (dataclasses.replace(seen, tokens=tokens, mask=mask) for tokens in (seen.tokens, other))
    torch.testing.assert_close(head.sample(one), head.sample(two))


def test_learns_and_acts_on_the_meta_device(build: Callable[..., ActHead], batch: Batch[Tensor]) -> None:
    head, seen = build().to("meta"), features()
    away = Features(seen.tokens.to("meta"), places=None if seen.places is None else seen.places.to("meta"))
    loss = head.loss(away, batch.map(lambda value: value.to("meta")))
    loss.mean().backward()
    assert loss.device.type == "meta"
    assert head.sample(away).shape == (ROWS, HORIZON, 3)
