"""Low-rank adapters: nothing at first, all that is trained, merged when kept."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import matrix
from sinew.core.errors import ConfigError
from sinew.models.encoder_config import LoraConfig
from sinew.models.lora import merged
from sinew.models.policy import VLAPolicy
from sinew.models.text_encoders import tokenizer_of

WITH = {"vision": "siglip", "head": "mlp", "fusion": "concat", "projector": "none", "language": "qwen2"}
BOTH = LoraConfig(rank=2, alpha=4, parts=("vision", "language"))


def policy_with(lora: LoraConfig | None) -> VLAPolicy:
    plain = matrix.policy_of(WITH)
    if lora is not None:
        plain.adapt(lora)
        plain.config = dataclasses.replace(plain.config, lora=lora)
    return plain


def trained() -> VLAPolicy:
    """A policy whose adapters have learned something."""
    policy = policy_with(BOTH)
    optimiser = torch.optim.SGD([value for value in policy.parameters() if value.requires_grad], lr=0.5)
    for _ in range(2):
        optimiser.zero_grad()
        torch.stack(list(policy.losses(matrix.lesson()).values())).sum().backward()
        optimiser.step()
    return policy


def test_adapters_change_nothing_at_first_and_are_all_that_is_trained_of_their_part() -> None:
    before, after = policy_with(None), policy_with(BOTH)
    noise = np.zeros((4, 4, 2), dtype=np.float32)
    seen = matrix.seen()
    assert np.array_equal(before.predict_action_chunk(seen, noise), after.predict_action_chunk(seen, noise))
    trained = [name for name, value in after.named_parameters() if value.requires_grad]
    for part in ("network.vision.", "network.language."):
        assert {"lora_" in name for name in trained if name.startswith(part)} == {True}
    assert any(name.startswith("network.fusion.") for name in trained)


def test_a_saved_policy_has_them_merged_and_acts_the_same(tmp_path: Path) -> None:
    policy, seen = trained(), matrix.seen()
    fresh = policy_with(None).state_dict()
    kept = merged(policy)
    assert set(kept) == set(fresh)
    changed = [name for name in kept if "q_proj.weight" in name and not torch.equal(kept[name], fresh[name])]
    assert changed
    policy.save_pretrained(tmp_path)
    again = VLAPolicy.from_pretrained(tmp_path)
    assert again.config.lora is None
    np.testing.assert_allclose(again.predict_action_chunk(seen), policy.predict_action_chunk(seen), rtol=0, atol=1e-5)
    further = VLAPolicy.from_pretrained(tmp_path, config=policy.config)
    np.testing.assert_array_equal(further.predict_action_chunk(seen), again.predict_action_chunk(seen))


def test_a_policy_is_built_with_adapters_as_its_settings_say() -> None:
    config = dataclasses.replace(matrix.config_of(WITH), lora=LoraConfig(rank=2))
    policy = VLAPolicy(config, matrix.policy_of(WITH).spec, tokenizer_of(config.language, ["go left"]))
    assert any("network.language" in name and "lora_A" in name for name, _ in policy.named_parameters())


def test_a_part_without_such_maps_is_refused_with_those_it_has() -> None:
    config = LoraConfig(parts=("vision",), targets=("somewhere",))
    with pytest.raises(
        ConfigError, match=r"nothing to stand beside in the vision: its linear maps are fc1, fc2, k_pro"
    ):
        policy_with(config)
