"""The autoregressive head: decoding step by step is what it scores at once, and FAST's draws are whole chunks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sinew.core.errors import ConfigError
from sinew.core.types import Batch, Features, RobotSpec
from sinew.models.config import PolicyConfig
from sinew.models.heads.autoregressive import AutoregressiveHead
from sinew.models.heads.config import ONE_TOKEN, AutoregressiveHeadConfig, FeatureLayout
from sinew.models.policy import VLAPolicy

Build = Callable[..., VLAPolicy]
Draw = Callable[..., Batch[Tensor]]
SMALL = AutoregressiveHeadConfig(bins=16, width=16, layers=2, heads=2)
FAST = dataclasses.replace(SMALL, tokens="fast", vocabulary=128)


def head_with(
    config: AutoregressiveHeadConfig, spec: RobotSpec, layout: FeatureLayout = ONE_TOKEN
) -> AutoregressiveHead:
    torch.manual_seed(0)
    head = AutoregressiveHead(config, 8, 3, spec, layout)
    head.fit_range(-torch.ones(3), torch.ones(3))
    head.fit_chunks((torch.randn(200, 1, 3) * torch.linspace(0, 1, 3)[:, None]).clamp(-1, 1))
    return head


def attend(embeddings: Tensor) -> Tensor:
    """Stand in for a language model: every state is the mean of the embeddings up to it."""
    steps = torch.arange(1, embeddings.shape[1] + 1)
    return embeddings.cumsum(dim=1) / steps[None, :, None]


@pytest.mark.parametrize(
    "config", [SMALL, FAST, dataclasses.replace(SMALL, decoder="lm")], ids=["values", "fast", "lm"]
)
def test_tokens_are_drawn_with_the_odds_that_are_scored(
    two_cameras: RobotSpec, config: AutoregressiveHeadConfig
) -> None:
    head = head_with(config, two_cameras, FeatureLayout(many=True, decodes=True))
    mask = torch.arange(4) < torch.tensor([[4], [2], [1]])
    features = Features(torch.randn(3, 4, 8), mask, decode=attend)
    with torch.no_grad():
        ids = head._decode(features, draw=True)
        taught = head._teach(features, ids)
        past, said = head.decoder.begin(features), torch.zeros(3, dtype=torch.int64)
        token = torch.full((3,), head.tokens.vocabulary)
        for place in range(head.tokens.length):
            hidden, past = head.decoder.advance(past, head._read_in(token[:, None], said[:, None]))
            now = head._allowed(head.read(hidden), said[:, None])[:, 0]
            alive = said < head.tokens.length
            torch.testing.assert_close(now[alive], taught[:, place][alive], rtol=0, atol=1e-5)
            token = ids[:, place].clamp(min=0)
            said = (said + head.tokens.lengths[token]).clamp(max=head.tokens.length)
    assert (said == head.tokens.length).all()


def test_every_draw_of_fast_tokens_is_a_whole_chunk(two_cameras: RobotSpec) -> None:
    head = head_with(FAST, two_cameras)
    with torch.no_grad():
        ids = head.rollout(Features(torch.randn(200, 1, 8)))[1]["tokens"]
    spans = torch.where(ids >= 0, head.tokens.lengths[ids.clamp(min=0)], 0)
    assert spans.sum(dim=1).unique().tolist() == [head.tokens.length]
    assert int((ids < 0).sum()) > 0


def test_fast_tokens_are_scored_as_a_whole_chunk_only(two_cameras: RobotSpec) -> None:
    head, alive = head_with(FAST, two_cameras), torch.tensor([[True, True, False]])
    assert head.mask(3, alive).tolist() == [[True, True, True, False]]
    with pytest.raises(ConfigError, match=r"--policy\.execute 3"):
        head.mask(2, alive)


def test_learned_tokens_are_kept_with_the_policy(build: Build, batch: Draw, tmp_path: Path) -> None:
    config = PolicyConfig(head=FAST, width=32, horizon=3)
    policy = build(config).eval()
    policy.fit_head(batch(rows=60).actions.numpy())
    policy.save_pretrained(tmp_path)
    loaded = VLAPolicy.from_pretrained(tmp_path)
    assert isinstance(policy.head, AutoregressiveHead)
    assert isinstance(loaded.head, AutoregressiveHead)
    chunk = policy.normalizer.to_unit("action", batch().actions)
    assert torch.equal(loaded.head.tokens.encode(chunk), policy.head.tokens.encode(chunk))
    assert int((loaded.head.tokens.encode(chunk) < 0).sum()) > 0


def test_a_guess_costs_one(two_cameras: RobotSpec, batch: Draw) -> None:
    """Uniform over V classes: ln V / ln V = 1 for each of the two continuous values, ln 2 weighed 0.3 for the third."""
    head = head_with(dataclasses.replace(SMALL, smooth=0.0), two_cameras)
    for part in (head.read, head.logits[2]):
        torch.nn.init.zeros_(part.weight)
        torch.nn.init.zeros_(part.bias)
    found = head.loss(Features(torch.randn(6, 1, 8)), batch())
    torch.testing.assert_close(found, torch.full((6,), (2 + 0.3 * 0.693147) / 3))


def test_decoding_through_a_language_model_needs_one(two_cameras: RobotSpec) -> None:
    with pytest.raises(ConfigError, match=r"--policy\.fusion\.kind lm"):
        head_with(dataclasses.replace(SMALL, decoder="lm"), two_cameras)
