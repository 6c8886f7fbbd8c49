"""The fusion through a language model: Llava's own hidden states, and going on behind them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

import hub_models
import matrix
from sinew.core.errors import ConfigError
from sinew.core.types import Features
from sinew.models.config import PolicyConfig
from sinew.models.encoder_config import (
    LmFusionConfig,
    Qwen2Config,
    SiglipConfig,
)
from sinew.models.policy import VLAPolicy
from sinew.models.projector_config import MlpProjectorConfig

PARTS = {"vision": "siglip", "head": "mlp", "fusion": "lm", "projector": "mlp", "language": "qwen2"}


@pytest.fixture
def policy() -> VLAPolicy:
    """A policy through a language model, whose words are of several lengths."""
    return matrix.policy_of(PARTS).eval()


def features_of(policy: VLAPolicy, rows: slice = slice(0, 4)) -> Features:
    obs = matrix.lesson().obs
    part = dataclasses.replace(
        obs,
        images={name: image[rows] for name, image in obs.images.items()},
        state=obs.state[rows],
        instruction=obs.instruction[rows],
    )
    return policy.encode(part).features


def test_padding_beside_a_row_changes_nothing(policy: VLAPolicy) -> None:
    together, alone = features_of(policy), features_of(policy, slice(0, 1))
    assert together.mask is not None
    count = alone.tokens.shape[1]
    assert int(together.mask[0].sum()) == count
    assert together.mask.shape[1] > count
    torch.testing.assert_close(together.tokens[:1, :count], alone.tokens, rtol=0, atol=1e-6)


def test_going_on_is_as_if_all_had_been_read_at_once(policy: VLAPolicy) -> None:
    """Words put behind by ``decode``, one after the other or all at once, are as words that were there before."""
    torch.manual_seed(0)
    further = torch.randn(1, 3, 16)
    with torch.no_grad():
        features = features_of(policy, slice(0, 1))
        assert features.decode is not None
        at_once = features.decode(further)
        first = features.decode(further[:, :1])
        again = features.decode(further)
        model = policy.network.language.model  # type: ignore[union-attr]
        entered: list[torch.Tensor | None] = []
        hook = model.register_forward_pre_hook(
            lambda _model, _args, given: entered.append(given.get("inputs_embeds")), with_kwargs=True
        )
        features_of(policy, slice(0, 1))
        hook.remove()
        assert entered[-1] is not None
        whole = model(inputs_embeds=torch.cat([entered[-1], further], dim=1)).last_hidden_state
    torch.testing.assert_close(at_once, whole[:, -3:], rtol=0, atol=1e-6)
    torch.testing.assert_close(first, at_once[:, :1], rtol=0, atol=1e-6)
    assert torch.equal(again, at_once)


def test_keys_and_values_are_as_the_layout_says(policy: VLAPolicy) -> None:
    features, layout = features_of(policy), policy.network.layout.cache
    assert layout is not None
    assert features.cache is not None
    assert len(features.cache) == layout.layers
    for key, value in features.cache:
        assert key.shape == value.shape == (4, layout.heads, features.tokens.shape[1], layout.size)
    assert layout.rope == 10000.0


def test_a_condensed_observation_acts_as_the_full_one(policy: VLAPolicy) -> None:
    obs = matrix.lesson().obs
    head: Any = policy.head
    with torch.no_grad():
        small = policy.condense(obs)
        assert not small.images
        assert torch.equal(head.sample(policy.encode(obs).features), head.sample(policy._features(small)))


def test_another_width_is_refused_with_both_sides() -> None:
    config = dataclasses.replace(matrix.config_of(PARTS), width=32)
    with pytest.raises(ConfigError, match=r"tokens of width 16, --policy\.width is 32\. Set it to 16"):
        matrix.built(config)


def test_hidden_states_are_those_of_llava_on_the_same_weights(tmp_path: Path) -> None:
    from sinew.models.pretrained import transformers_class
    from toy import ToyConfig

    hub_models.vision("siglip", tmp_path)
    torch.manual_seed(0)
    settings = transformers_class("llava", "LlavaConfig")(
        vision_config={"model_type": "siglip_vision_model", **hub_models.EYES},
        text_config={"model_type": "qwen2", **hub_models.BODY, "num_key_value_heads": 1, "vocab_size": 304},
        image_token_id=303,
        vision_feature_layer=-2,
        vision_feature_select_strategy="full",
    )
    whole = transformers_class("llava", "LlavaForConditionalGeneration")(settings).eval().model
    hub_models.write(whole.vision_tower, tmp_path, hub_models.pixels())
    (tmp_path / "lm").mkdir()
    hub_models.write(whole.language_model, tmp_path / "lm")
    hub_models.byte_tokenizer("qwen2").save(str(tmp_path / "lm" / "tokenizer.json"))
    config = PolicyConfig(
        vision=SiglipConfig(path=str(tmp_path), layer=-2),
        language=Qwen2Config(path=str(tmp_path / "lm")),
        projector=MlpProjectorConfig(),
        fusion=LmFusionConfig(),
        width=16,
        state=False,
    )
    from sinew.models.text_encoders import tokenizer_of

    policy = VLAPolicy(config, ToyConfig(size=16).spec, tokenizer_of(config.language, ())).eval()
    theirs = whole.multi_modal_projector.state_dict()
    names = {"layers.0": "linear_1", "layers.2": "linear_2"}
    ours = {f"{name}.{kind}": theirs[f"{other}.{kind}"] for name, other in names.items() for kind in ("weight", "bias")}
    policy.network.project.load_state_dict(ours)  # type: ignore[union-attr]
    images = torch.randint(0, 256, (2, 1, 3, 16, 16), dtype=torch.uint8)
    ids = torch.tensor([policy.tokenizer.encode("go to the left thing").ids] * 2)
    with torch.no_grad():
        found = policy.see({"front": images}, ids, torch.zeros(2, 1, 2)).features.tokens
        pixels = policy.network.vision.preprocess(images[:, 0])  # type: ignore[union-attr]
        spliced = torch.cat([torch.full((2, 16), 303), ids], dim=1)
        wanted = whole(input_ids=spliced, pixel_values=pixels).last_hidden_state
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
