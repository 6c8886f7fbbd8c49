"""Positions join queries and keys only; sines are those of the papers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from sinew.models.detr import DetrLayer, DetrStack, LayerSizes, Placed, line_positions, map_positions

SIZES = LayerSizes(width=8, heads=2, hidden=12, dropout=0.0)


@pytest.mark.parametrize("pre_norm", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_without_positions_a_layer_is_torchs_own(pre_norm: bool, activation: str) -> None:
    torch.manual_seed(0)
    ours = DetrLayer(LayerSizes(8, 2, 12, 0.0, "gelu" if activation == "gelu" else "relu", pre_norm))
    theirs = nn.TransformerEncoderLayer(8, 2, 12, 0.0, activation, batch_first=True, norm_first=pre_norm)
    theirs.self_attn.load_state_dict(ours.attend.state_dict())
    others = (theirs.linear1, theirs.linear2, theirs.norm1, theirs.norm2)
    for mine, other in zip((ours.widen, ours.narrow, *ours.norms), others, strict=True):
        other.load_state_dict(mine.state_dict())
    tokens = torch.randn(3, 5, 8)
    ignored = torch.tensor([[False, False, False, True, True]] * 3)
    expected = theirs(tokens, src_key_padding_mask=ignored)
    torch.testing.assert_close(ours(Placed(tokens, ignored=ignored)).tokens[:, :3], expected[:, :3])


def test_positions_are_compared_and_never_passed_on() -> None:
    """A token that alone may be looked at is handed on the same, wherever it lies."""
    torch.manual_seed(0)
    stack = DetrStack(SIZES, 1).eval()
    tokens = torch.randn(2, 4, 8)
    alone = torch.tensor([[False, True, True, True]] * 2)
    here, there = (stack(Placed(tokens, torch.randn(4, 8), alone)).tokens for _ in range(2))
    torch.testing.assert_close(here, there)
    free, elsewhere = (stack(Placed(tokens, torch.randn(4, 8))).tokens for _ in range(2))
    assert not torch.allclose(free, elsewhere)


def test_places_on_a_line_are_the_papers_sines() -> None:
    found = line_positions(5, 6)
    assert found.shape == (5, 6)
    for place in range(5):
        for pair in range(3):
            angle = place / 10_000 ** (2 * pair / 6)
            assert math.isclose(float(found[place, 2 * pair]), math.sin(angle), abs_tol=1e-6)
            assert math.isclose(float(found[place, 2 * pair + 1]), math.cos(angle), abs_tol=1e-6)


def test_cells_of_a_map_share_the_half_of_their_row_and_of_their_column() -> None:
    found = map_positions(2, 3, 8).unflatten(0, (2, 3))
    assert torch.equal(found[0, 0, :4], found[0, 2, :4])
    assert torch.equal(found[0, 1, 4:], found[1, 1, 4:])
    torch.testing.assert_close(found[-1, -1, 1], torch.tensor(1.0))  # the last cell lies at 2 pi
    assert len({tuple(cell.tolist()) for cell in found.flatten(0, 1)}) == 6
