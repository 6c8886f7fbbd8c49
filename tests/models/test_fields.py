"""Fields take any number of tokens; the joint one attends to a language model without pulling on it when told so."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor

from sinew.core.errors import ConfigError
from sinew.core.types import Batch, Features, RobotSpec
from sinew.models.fields import FieldSizes, build_field
from sinew.models.heads.config import ONE_TOKEN, CacheLayout, FeatureLayout, FlowHeadConfig
from sinew.models.heads.flow import FlowHead
from sinew.models.rotary import rotate

Draw = Callable[..., Batch[Tensor]]
CACHE = CacheLayout(layers=2, heads=2, size=8, rope=10_000.0)
JOINT = FeatureLayout(many=True, cache=CACHE)


def language_model(tokens: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
    """Return keys and values (B, heads, N, size) that depend on the tokens (B, N, 8)."""
    return tuple(
        (tokens.unsqueeze(1).expand(-1, 2, -1, -1) * (layer + 1), tokens.unsqueeze(1).expand(-1, 2, -1, -1))
        for layer in range(2)
    )


@pytest.mark.parametrize("expert", ["cross", "joint", "interleaved"])
def test_tokens_that_are_masked_out_change_nothing(expert: str) -> None:
    torch.manual_seed(0)
    field = build_field(expert, FieldSizes(8, 3, 2, 32, 2), JOINT)  # type: ignore[arg-type]
    tokens, chunk, time = torch.randn(2, 5, 8), torch.randn(2, 3, 2), torch.rand(2)
    mask = torch.arange(5) < torch.tensor([[5], [2]])
    found: list[Tensor] = []
    for seen in (tokens, tokens.masked_fill(~mask[..., None], 50.0)):
        features = Features(seen, mask, cache=language_model(seen))
        found.append(field(field.remember(features, seen[:, 0]), chunk, time))
    torch.testing.assert_close(*found)
    short = Features(tokens[1:, :2], cache=language_model(tokens[1:, :2]))
    alone = field(field.remember(short, tokens[1:, 0]), chunk[1:], time[1:])
    torch.testing.assert_close(alone, found[0][1:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("insulate", [True, False])
@pytest.mark.parametrize("expert", ["joint", "interleaved"])
def test_insulation_keeps_every_gradient_from_what_made_the_features(
    two_cameras: RobotSpec, batch: Draw, insulate: bool, expert: Literal["joint", "interleaved"]
) -> None:
    torch.manual_seed(0)
    config = FlowHeadConfig(width=32, steps=2, expert=expert, insulate=insulate)
    head = config.build(8, 3, two_cameras, JOINT)
    weight = torch.nn.Parameter(torch.eye(8))
    tokens = torch.randn(6, 4, 8) @ weight
    head.loss(Features(tokens, cache=language_model(tokens)), batch()).sum().backward()
    assert (weight.grad is None) == insulate
    assert insulate or weight.grad is not None
    assert insulate or bool(weight.grad.any())
    assert all(value.grad is not None and value.grad.any() for value in head.field.parameters())


FELT = dataclasses.replace(JOINT, state=5)


@pytest.mark.parametrize("insulate", [True, False])
def test_an_expert_that_feels_reads_what_is_felt_beside_the_language_model(
    two_cameras: RobotSpec, batch: Draw, insulate: bool
) -> None:
    torch.manual_seed(0)
    head = FlowHeadConfig(width=32, steps=2, expert="joint", feels=True, insulate=insulate).build(
        8, 3, two_cameras, FELT
    )
    assert isinstance(head, FlowHead)
    weight = torch.nn.Parameter(torch.eye(5))
    tokens, felt = torch.randn(6, 4, 8), torch.randn(6, 5)
    features = Features(tokens, cache=language_model(tokens), state=felt @ weight)
    head.loss(features, batch()).sum().backward()
    assert (weight.grad is None) == insulate
    assert head.field.feel.weight.grad.any()  # type: ignore[union-attr]
    noise = torch.randn(6, 3, 3)
    one, other = (head.sample(dataclasses.replace(features, state=state), noise) for state in (felt, felt + 1))
    binary = head.loss_per_row.binary
    assert not torch.allclose(one[..., ~binary], other[..., ~binary])
    memories = [head.remember(dataclasses.replace(features, state=state)) for state in (felt, felt + 1)]
    assert not torch.allclose(*(head._logits(memory) for memory in memories))


def test_nothing_that_is_felt_is_refused(two_cameras: RobotSpec) -> None:
    with pytest.raises(ConfigError, match=r"head\.feels: nothing is felt here"):
        FlowHeadConfig(width=32, expert="joint", feels=True).build(8, 3, two_cameras, JOINT)
    with pytest.raises(ConfigError, match=r"head\.feels: only a joint expert"):
        FlowHeadConfig(width=32, expert="cross", feels=True).build(8, 3, two_cameras, FELT)


def test_rotation_leaves_what_depends_on_the_distance_alone() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)

    def product(one: int, two: int) -> Tensor:
        places = (torch.tensor([[one]]), torch.tensor([[two]]))
        return (rotate(query, places[0], 10_000.0) * rotate(key, places[1], 10_000.0)).sum()

    torch.testing.assert_close(product(5, 3), product(105, 103))
    assert not torch.isclose(product(5, 3), product(5, 4))


@pytest.mark.parametrize("expert", ["joint", "interleaved"])
def test_such_an_expert_without_a_language_model_is_refused(expert: Literal["joint", "interleaved"]) -> None:
    with pytest.raises(ConfigError, match=rf"expert {expert}.*--policy\.fusion\.kind lm"):
        build_field(expert, FieldSizes(8, 3, 2, 32, 2), ONE_TOKEN)


@pytest.mark.parametrize("expert", ["joint", "interleaved"])
def test_such_an_expert_wants_as_many_layers_as_it_was_built_for(expert: Literal["joint", "interleaved"]) -> None:
    field = build_field(expert, FieldSizes(8, 3, 2, 32, 2), JOINT)
    tokens = torch.randn(2, 4, 8)
    with pytest.raises(ConfigError, match="of 2 layers was given keys and values of 1"):
        field.remember(Features(tokens, cache=language_model(tokens)[:1]), tokens[:, 0])
