"""Named architectures: each learns, acts and is kept, and has what its name promises."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

import matrix
from sinew.core.errors import ConfigError
from sinew.models.architectures import ARCHITECTURES, named
from sinew.models.config import GroundingConfig, PolicyConfig
from sinew.models.fused import FusedNetwork
from sinew.models.fusion import FilmFusion, TransformerFusion
from sinew.models.language import Words
from sinew.models.network import Network
from sinew.models.policy import VLAPolicy

POINT = PolicyConfig(grounding=GroundingConfig(points=(("goal", 1),)))


def tokens_of(policy: VLAPolicy) -> torch.Tensor:
    with torch.no_grad():
        return policy.eval().encode(matrix.lesson_of(policy).obs).features.tokens


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_learns_acts_and_is_kept(name: str, tmp_path: Path) -> None:
    matrix.check(matrix.built(named(name, POINT)), tmp_path)


def test_end_to_end_joins_what_is_seen_and_said_to_one_vector() -> None:
    assert tokens_of(matrix.built(named("end-to-end-vla", POINT))).shape == (4, 1, 256)


def test_transformer_has_patches_words_and_state_in_one_row() -> None:
    policy = matrix.built(named("transformer-vla", POINT))
    words = policy.word_ids(matrix.seen().instruction).shape[1]
    assert tokens_of(policy).shape == (4, 1 + words + 1, 128)  # one patch of 8 pixels


def test_octo_readouts_are_read_by_nobody() -> None:
    """Other readouts change what the head gets, and nothing that the other tokens become."""
    policy = matrix.built(named("octo", POINT))
    assert isinstance(policy.network, FusedNetwork)
    fusion = policy.network.fusion
    assert isinstance(fusion, TransformerFusion)
    assert fusion.readouts is not None
    before, inner = tokens_of(policy), list[torch.Tensor]()
    fusion.blocks[-1].register_forward_hook(lambda _block, _args, out: inner.append(out[:, :-1]))
    again = tokens_of(policy)
    torch.nn.init.normal_(fusion.readouts)
    changed = tokens_of(policy)
    assert before.shape == (4, 1, 128)
    assert torch.equal(before, again)
    assert not torch.allclose(before, changed)
    assert torch.equal(inner[0], inner[1])


def test_palm_e_has_images_and_state_as_tokens_before_the_words_and_speaks_and_acts_from_them() -> None:
    config = dataclasses.replace(named("palm-e", POINT), grounding=GroundingConfig())
    policy = matrix.built(config)
    network, obs = policy.network, matrix.lesson_of(policy).obs
    assert isinstance(network, FusedNetwork)
    with torch.no_grad():
        features = policy.eval().encode(obs).features
        moved = policy.encode(dataclasses.replace(obs, state=obs.state + 1)).features
    words = policy.word_ids(obs.instruction).shape[1]
    assert features.tokens.shape == (4, 2 * 4 * 4 + 1 + words, 128)  # two ticks of 4 x 4 patches, the state, the words
    assert torch.equal(features.tokens[:, :32], moved.tokens[:, :32])
    assert not torch.allclose(features.tokens[:, 32:], moved.tokens[:, 32:])
    table = network.language.model.get_input_embeddings().weight  # type: ignore[union-attr]
    assert features.decode is not None
    said = features.decode(table[policy.word_ids(("go left",) * 4)]) @ table.T
    assert said.shape == (4, 2, len(table))
    assert policy.predict_action_chunk(obs.map(lambda array: array.numpy())).shape == (4, config.horizon, 2)


def test_rt1_keeps_eight_tokens_of_each_tick_and_begins_as_if_nothing_was_said() -> None:
    policy = matrix.built(named("rt1", POINT))
    assert tokens_of(policy).shape == (4, 6 * 8 + 1, 128)
    network = policy.network
    assert isinstance(network, FusedNetwork)
    assert isinstance(network.fusion, FilmFusion)
    seen, nothing = torch.randn(4, 6, 64, 128), torch.zeros(4, 3, 128)
    said = [Words(words, words, torch.ones(4, 3, dtype=torch.bool)) for words in (nothing, torch.randn(4, 3, 128))]
    silent, spoken = (network.fusion(seen, words, None).tokens for words in said)
    assert torch.equal(silent, spoken)


@pytest.mark.parametrize(("name", "insulate"), [("rt2", False), ("pi0", False), ("pi0", True)])
def test_actions_teach_the_language_model_unless_it_is_insulated(name: str, insulate: bool) -> None:
    config = dataclasses.replace(named(name, POINT), grounding=GroundingConfig())
    if insulate:
        config = dataclasses.replace(config, head=dataclasses.replace(config.head, insulate=True))  # type: ignore[call-arg]
    policy = matrix.built(config)
    policy.losses(matrix.lesson(config.history, config.horizon))["action"].sum().backward()
    weights = [value for key, value in policy.network.language.named_parameters() if "q_proj" in key]
    assert any(value.grad is not None and bool(value.grad.any()) for value in weights) is not insulate


def test_diffusion_policy_sees_where_channels_look_and_has_no_batch_statistics() -> None:
    policy = matrix.built(named("diffusion-policy", POINT))
    assert isinstance(policy.network, Network)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in policy.modules())


def test_act_reads_every_place_and_acts_on_the_mean_style() -> None:
    policy = matrix.built(dataclasses.replace(named("act", POINT), history=1))
    assert tokens_of(policy).shape[1] > 64  # 8 x 8 places, words and state
    seen = matrix.seen(1)
    assert (policy.predict_action_chunk(seen) == policy.predict_action_chunk(seen)).all()


def test_an_unknown_name_is_answered_with_the_nearest_and_the_list() -> None:
    with pytest.raises(ConfigError, match=r"no architecture 'octa'\. Did you mean 'octo'\? There is: end-to-end-vla, "):
        named("octa", POINT)
