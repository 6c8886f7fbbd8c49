"""The prefix of images, words and state: what is joined, padded and seen by whom."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

import matrix
from sinew.core.errors import ConfigError
from sinew.models.config import GroundingConfig, LanguageConfig, PolicyConfig
from sinew.models.encoder_config import PrefixFusionConfig
from sinew.models.prefix import joined_patches, prefix_mask, squared
from toy import ToyConfig
from toy_policy import SIZE

PARTS = {
    "vision": "siglip",
    "head": "mlp",
    "fusion": "prefix",
    "projector": "none",
    "language": "llama",
    "previous": "none",
}


def config_of(**changed: object) -> PolicyConfig:
    """Return a tiny policy with a prefix."""
    return dataclasses.replace(matrix.config_of(PARTS), **changed)


def test_images_keep_their_proportions_with_black_above_and_to_the_left() -> None:
    wide, tall = torch.full((1, 3, 4, 8), 200.0), torch.full((1, 3, 8, 4), 200.0)
    seen = squared(wide, 4, 4)
    assert seen.shape == (1, 3, 4, 4)
    assert seen[0, 0, :, 0].tolist() == [0, 0, 200, 200]
    assert squared(tall, 4, 4)[0, 0, 0].tolist() == [0, 0, 200, 200]
    assert squared(wide, 4, 8) is wide


def test_a_token_is_a_square_of_neighbours() -> None:
    patches = torch.arange(16.0).view(1, 4, 4, 1)
    assert joined_patches(patches, 2)[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert torch.equal(joined_patches(patches, 1), patches.flatten(1, 2))


def test_state_sees_all_and_only_state_sees_state() -> None:
    mask = torch.tensor([[True, True, False, True]])
    found = prefix_mask(mask, 3)[0, 0].int().tolist()
    assert found == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 1]]


def test_words_beside_longer_ones_mean_the_same() -> None:
    policy, obs = matrix.built(config_of()).eval(), matrix.lesson().obs
    together = policy.encode(obs).features
    alone = policy.encode(
        dataclasses.replace(obs.map(lambda array: array[:1]), instruction=obs.instruction[:1])
    ).features
    assert together.mask is not None
    assert together.cache is not None
    assert alone.cache is not None
    kept = together.mask[0]
    torch.testing.assert_close(together.tokens[0, kept], alone.tokens[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(together.cache[0][0][0][:, kept], alone.cache[0][0][0], rtol=0, atol=1e-5)


def test_room_for_more_state_values_changes_no_meaning() -> None:
    small, large = (matrix.built(config_of(fusion=PrefixFusionConfig(state=size))).eval() for size in (None, 6))
    weights = small.state_dict()
    wide = large.state_dict()["network.state.weight"].clone()
    wide[:, :2] = weights["network.state.weight"]
    large.load_state_dict({**weights, "network.state.weight": wide})
    found: list[Tensor] = [policy.encode(matrix.lesson().obs).features.tokens for policy in (small, large)]
    torch.testing.assert_close(*found)


def test_an_ending_is_added_where_there_is_none() -> None:
    config = config_of()
    ended = dataclasses.replace(config.language, ending=" left")  # type: ignore[call-arg]
    ids = matrix.built(dataclasses.replace(config, language=ended)).word_ids(["go", "go left"])
    assert torch.equal(ids[0], ids[1])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"grounding": GroundingConfig(points=(("goal", 1),))}, "finds no points"),
        ({"language": LanguageConfig()}, "read by a causal language model"),
        ({"width": 32}, "tokens of width 16.*--policy.width is 32. Set it to 16"),
        ({"fusion": PrefixFusionConfig(shuffle=3)}, r"3 x 3, of which this encoder has \(2, 2\)"),
        ({"fusion": PrefixFusionConfig(state=1)}, "has 2 state values. Set at least 2"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, object], said: str) -> None:
    assert ToyConfig(size=SIZE).spec.state_size == 2
    with pytest.raises(ConfigError, match=said):
        matrix.built(config_of(**changed))
