"""Projectors: shapes for any number of tokens, what sees what, and a worked number."""

from __future__ import annotations

import pytest
import torch

from sinew.core.errors import ConfigError
from sinew.models.projector_config import (
    PROJECTORS,
    AttentionProjectorConfig,
    MlpProjectorConfig,
    PerceiverProjectorConfig,
)
from sinew.models.projectors import MlpProjector, build_projector


@pytest.mark.parametrize("name", PROJECTORS)
def test_every_projector_changes_the_width_and_says_how_many_tokens_leave(name: str) -> None:
    torch.manual_seed(0)
    projector = build_projector(PROJECTORS[name](), 6, 8, 9)
    out = projector(torch.randn(2, 9, 6))
    assert out.shape == (2, projector.tokens, 8)
    assert projector.tokens == (16 if name == "perceiver" else 9)
    out.square().sum().backward()
    assert all(parameter.grad is not None for parameter in projector.parameters())


@pytest.mark.parametrize("name", PROJECTORS)
def test_every_projector_runs_on_meta(name: str) -> None:
    projector = build_projector(PROJECTORS[name](), 6, 8, 9).to("meta")
    assert projector(torch.zeros(2, 9, 6, device="meta")).shape == (2, projector.tokens, 8)


def test_mlp_is_the_worked_number() -> None:
    """Weights 2 and 3, biases 1 and -1, input 0: 3 gelu(1) - 1 with gelu(1) = Phi(1) = 0.841345."""
    projector = MlpProjector(MlpProjectorConfig(), 1, 1, 1)
    for parameter, value in zip(projector.parameters(), (2.0, 1.0, 3.0, -1.0), strict=True):
        torch.nn.init.constant_(parameter, value)
    torch.testing.assert_close(projector(torch.zeros(1, 1, 1)).detach(), torch.full((1, 1, 1), 3 * 0.841345 - 1))


def test_only_mlp_keeps_tokens_apart() -> None:
    torch.manual_seed(0)
    tokens = torch.randn(1, 4, 6)
    changed = tokens.clone()
    changed[:, 3] += 1.0
    for config, apart in ((MlpProjectorConfig(), True), (AttentionProjectorConfig(), False)):
        projector = build_projector(config, 6, 8, 4).eval()
        same = torch.equal(projector(tokens)[:, 0], projector(changed)[:, 0])
        assert same is apart


def test_latents_read_where_a_token_is() -> None:
    """A perceiver sees tokens as a set but for their positions: without them their order would not count."""
    torch.manual_seed(0)
    projector = build_projector(PerceiverProjectorConfig(latents=2), 6, 8, 5).eval()
    tokens, turned = torch.randn(1, 5, 6), torch.tensor([1, 0, 2, 3, 4])
    assert not torch.allclose(projector(tokens), projector(tokens[:, turned]), atol=1e-6)
    torch.nn.init.zeros_(projector.position)
    torch.testing.assert_close(projector(tokens), projector(tokens[:, turned]))


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"4 heads, which do not divide the width 10\. Set --policy\.projector\.heads"
    ):
        build_projector(AttentionProjectorConfig(), 6, 10, 9)
