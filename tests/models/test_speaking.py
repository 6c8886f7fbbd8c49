from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models.small_vlm import small_vlm
from recipes.toy_pairs import POLICY, SPEC, WORDS, body
from recipes.toy_texts import record, toy_vlm
from sinew.core.types import Batch
from sinew.models.config import FlowHeadConfig
from sinew.models.encoder_config import LoraConfig
from sinew.models.policy import VLAPolicy
from sinew.models.speaking import embodied, learn_words, speaker_of
from sinew.models.vlm import VLM, Draw
from toy_policy import look, spread

QUESTION = "<image>\nwhat colour ?"


def fitted(policy: VLAPolicy) -> VLAPolicy:
    policy.fit_normalizer({"state": spread(2, 0.1), "action": spread(2, 0.05)})
    return policy


def lesson() -> Batch[Tensor]:
    random = torch.Generator().manual_seed(1)
    actions = 0.2 * torch.rand(4, 3, 2, generator=random) - 0.1
    actions[..., 1] = actions[..., 1].sign().clamp(min=0)
    return Batch(look(4).map(torch.as_tensor), actions, torch.zeros(4, 3, dtype=torch.bool), torch.ones(4))


def answers(vlm: VLM) -> list[str]:
    images = np.stack([record(number).images[0] for number in range(6)])[:, None]
    return vlm.answer(images, [QUESTION] * 6, Draw(tokens=4))


def gradient(policy: VLAPolicy) -> dict[str, float]:
    """Return the largest gradient that the flow loss leaves in each parameter of the model inside."""
    torch.manual_seed(0)
    policy.losses(lesson())["action"].sum().backward()
    return {
        name: 0.0 if item.grad is None else float(item.grad.abs().max())
        for name, item in speaker_of(policy).named_parameters()
    }


def test_an_insulated_expert_sends_exactly_no_gradient_into_the_model() -> None:
    for insulate in (True, False):
        head = dataclasses.replace(POLICY.head, insulate=insulate)
        policy = fitted(body(config=dataclasses.replace(POLICY, head=head)))
        found = gradient(policy)
        assert len(found) > 50
        if insulate:
            assert set(found.values()) == {0.0}
        else:
            still = {name for name, value in found.items() if value == 0.0}
            # The last layer's keys and values are read, what comes of its feed-forward is not.
            assert all("layers.1." in name or name == "lm.model.norm.weight" for name in still)
        assert max(float(item.grad.abs().max()) for item in policy.head.parameters() if item.grad is not None) > 0


def test_model_and_policy_share_every_weight_and_say_the_same() -> None:
    vlm = toy_vlm()
    learn_words(vlm, WORDS)
    said = answers(vlm)
    policy = embodied(vlm, POLICY, SPEC)
    inside = speaker_of(policy)
    assert answers(inside) == said
    with torch.no_grad():
        vlm.projector.layers[2].weight.zero_()  # type: ignore[union-attr, index]
    assert torch.equal(policy.network.project.layers[2].weight, vlm.projector.layers[2].weight)  # type: ignore[union-attr, index]
    assert {id(item) for item in inside.parameters()} <= {id(item) for item in policy.parameters()}


@pytest.mark.parametrize("kind", ["stem", "siglip, last but one"])
def test_a_saved_policy_acts_and_answers_as_before(kind: str, tmp_path: Path) -> None:
    policy = fitted(embodied(small_vlm(kind), POLICY, SPEC)).eval()
    policy.save_pretrained(tmp_path)
    again = VLAPolicy.from_pretrained(tmp_path)
    noise = np.zeros((4, 3, 2), np.float32)
    np.testing.assert_array_equal(
        policy.predict_action_chunk(look(4), noise), again.predict_action_chunk(look(4), noise)
    )
    images = np.zeros((1, 1, 3, 16, 16), np.uint8)
    inside, outside = speaker_of(policy), speaker_of(again)
    assert inside.answer(images, ["<image>\nwhat is it ?"]) == outside.answer(images, ["<image>\nwhat is it ?"])
    ids = torch.tensor([outside.chat().prompt("<image>\nwhat is it ?")])
    pictures = torch.from_numpy(images)
    assert torch.equal(inside.logits(inside.hidden(pictures, ids)), outside.logits(outside.hidden(pictures, ids)))


def test_a_head_apart_from_the_embedding_is_kept(tmp_path: Path) -> None:
    vlm = small_vlm("stem")
    lm = vlm.lm
    lm.config.tie_word_embeddings = False  # type: ignore[union-attr]
    lm.set_output_embeddings(torch.nn.Linear(16, lm.config.vocab_size, bias=False))  # type: ignore[operator, union-attr, arg-type]
    policy = fitted(embodied(vlm, POLICY, SPEC)).eval()
    policy.save_pretrained(tmp_path)
    hidden = torch.randn(2, 16)
    inside = speaker_of(VLAPolicy.from_pretrained(tmp_path))
    assert torch.equal(inside.logits(hidden), vlm.logits(hidden))
    assert not torch.equal(inside.logits(hidden), hidden @ lm.get_input_embeddings().weight.T)  # type: ignore[operator, union-attr]


def test_a_model_out_of_a_policy_can_be_kept_by_itself(tmp_path: Path) -> None:
    inside = speaker_of(body())
    inside.save_pretrained(tmp_path)
    assert answers(VLM.from_pretrained(tmp_path)) == answers(inside)


def test_adapters_teach_the_model_inside_and_are_merged_when_kept(tmp_path: Path) -> None:
    policy = fitted(body())
    policy.adapt(LoraConfig(rank=2))
    inside = speaker_of(policy)
    with torch.no_grad():
        for name, item in inside.named_parameters():
            if ".lora_B." in name:
                item.fill_(0.3)
    assert any(".lora_A." in name for name, _ in inside.named_parameters())
    policy.save_pretrained(tmp_path)
    again = VLAPolicy.from_pretrained(tmp_path)
    assert not any(".lora_" in name for name in again.state_dict())
    ids = torch.tensor([inside.chat().prompt("what colour ?")])
    policy.eval()
    torch.testing.assert_close(inside.hidden(None, ids), speaker_of(again).hidden(None, ids), atol=1e-5, rtol=1e-5)


def test_new_words_are_known_and_old_ones_keep_their_meaning() -> None:
    vlm = toy_vlm()
    unknown = vlm.tokens.encode("[UNK]")
    before = vlm.lm.get_input_embeddings().weight.detach().clone()  # type: ignore[operator, union-attr]
    old = vlm.tokens.encode("what colour ? red")
    assert vlm.tokens.encode("Go left") == unknown * 2
    assert learn_words(vlm, [*WORDS, "red"]) == ("go", "left", "right")
    table = vlm.lm.get_input_embeddings().weight.detach()  # type: ignore[operator, union-attr]
    assert torch.equal(table[: len(before)], before)
    assert len(table) == len(before) + 3
    assert vlm.tokens.encode("what colour ? red") == old
    assert vlm.tokens.decode(vlm.tokens.encode("Go left")) == "go left"
    assert learn_words(vlm, WORDS) == ()
    assert 0.3 < float(table[len(before) :].std() / before.std()) < 3


def test_an_mlp_over_the_summary_is_insulated_too() -> None:
    policy = fitted(body(config=dataclasses.replace(POLICY, head=FlowHeadConfig(width=16, layers=1, insulate=True))))
    assert set(gradient(policy).values()) == {0.0}
