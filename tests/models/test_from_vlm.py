"""A policy out of a vision-language model in Llava's layout, written by transformers itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import hub_models
import matrix
from sinew.core.errors import CheckpointError, ConfigError, SpecError
from sinew.models.heads.config import AutoregressiveHeadConfig, MlpHeadConfig
from sinew.models.policy import VLAPolicy
from sinew.models.pretrained import transformers_class
from toy import ToyConfig
from toy_policy import spread

SPEC = ToyConfig(size=matrix.SIZE).spec


def llava(place: Path, seeing: str = "siglip_vision_model", reading: str = "qwen2") -> Any:  # noqa: ANN401
    """Write a tiny Llava that sees and reads, and return it."""
    torch.manual_seed(0)
    settings = transformers_class("llava", "LlavaConfig")(
        vision_config={"model_type": seeing, **hub_models.EYES},
        text_config={"model_type": reading, **hub_models.BODY, "num_key_value_heads": 1, "vocab_size": 304},
        image_token_id=303,
        vision_feature_layer=-2,
        vision_feature_select_strategy="full" if seeing.startswith("siglip") else "default",
    )
    model = transformers_class("llava", "LlavaForConditionalGeneration")(settings)
    hub_models.byte_tokenizer("qwen2").save(str(place / "tokenizer.json"))
    return hub_models.write(model, place, hub_models.pixels())


@pytest.mark.parametrize(
    ("seeing", "reading"),
    [("siglip_vision_model", "qwen2"), ("clip_vision_model", "qwen2"), ("clip_vision_model", "llama")],
)
def test_features_are_the_hidden_states_of_the_whole_model(seeing: str, reading: str, tmp_path: Path) -> None:
    whole = llava(tmp_path, seeing, reading).model
    policy = VLAPolicy.from_pretrained_vlm(str(tmp_path), SPEC).eval()
    images = torch.randint(0, 256, (2, 1, 3, 16, 16), dtype=torch.uint8)
    ids = torch.tensor([policy.tokenizer.encode("go to the left thing").ids] * 2)
    network: Any = policy.network
    entered: list[torch.Tensor] = []
    network.language.model.register_forward_pre_hook(
        lambda _model, _args, given: entered.append(given["inputs_embeds"]), with_kwargs=True
    )
    with torch.no_grad():
        policy.normalizer.fit({"state": spread(2, 0.1), "action": spread(2, 0.05)}, fixed={})
        policy.see({"front": images}, ids, torch.zeros(2, 1, 2))
        pixels = network.vision.preprocess(images[:, 0])
        wanted = whole.get_image_features(pixels).pooler_output
    torch.testing.assert_close(entered[0][:, :16], torch.stack(list(wanted)), rtol=0, atol=1e-5)
    for name, value in whole.language_model.state_dict().items():
        assert torch.equal(network.language.model.state_dict()[name], value), name


def test_the_usual_call_trains_adapters_and_the_head_and_is_kept(tmp_path: Path) -> None:
    (tmp_path / "vlm").mkdir()
    llava(tmp_path / "vlm")
    policy = VLAPolicy.from_pretrained_vlm(
        vlm_path=str(tmp_path / "vlm"),
        spec=SPEC,
        action_dim=2,
        hidden_dim=24,
        action_chunk_size=4,
        action_head_type="mlp",
        freeze_vision=True,
        freeze_llm=True,
        use_lora=True,
        lora_r=2,
        lora_alpha=4,
    )
    assert isinstance(policy.config.head, MlpHeadConfig)
    assert (policy.config.head.hidden, policy.config.horizon) == ((24, 24), 4)
    trained = {name.split(".")[1] for name, value in policy.named_parameters() if value.requires_grad}
    assert "vision" not in trained
    adapters = [name for name, value in policy.network.language.named_parameters() if value.requires_grad]
    assert adapters
    assert all("lora_" in name for name in adapters)
    policy.fit_normalizer({"state": spread(2, 0.1), "action": spread(2, 0.05)})
    (tmp_path / "kept").mkdir()
    policy.save_pretrained(tmp_path / "kept")
    for file in (tmp_path / "vlm").iterdir():
        file.unlink()
    again = VLAPolicy.from_pretrained(tmp_path / "kept")
    seen = matrix.seen(1)
    assert (again.predict_action_chunk(seen) == policy.predict_action_chunk(seen)).all()


def test_two_models_are_joined_by_a_new_projector(tmp_path: Path) -> None:
    for name in ("eyes", "words"):
        (tmp_path / name).mkdir()
    hub_models.vision("siglip", tmp_path / "eyes")
    hub_models.text("qwen2", tmp_path / "words")
    names = {"vision_model_name": str(tmp_path / "eyes"), "llm_model_name": str(tmp_path / "words")}
    policy = VLAPolicy.from_pretrained_vlm(
        "", SPEC, **names, projector_type="perceiver", action_head_type="transformer", freeze_llm=False
    )
    assert isinstance(policy.config.head, AutoregressiveHeadConfig)
    assert policy.config.projector is not None
    assert policy.config.projector.kind == "perceiver"
    assert all(value.requires_grad for value in policy.network.language.parameters())


def test_what_does_not_fit_is_refused_with_the_nearest_or_both_sides(tmp_path: Path) -> None:
    llava(tmp_path)
    path = str(tmp_path)
    with pytest.raises(SpecError, match=r"action_dim is 7, toy takes 2 values \(move, honk\)"):
        VLAPolicy.from_pretrained_vlm(path, SPEC, action_dim=7)
    with pytest.raises(ConfigError, match=r"action_head_type: there is no 'gaussiam'\. Did you mean 'gaussian'"):
        VLAPolicy.from_pretrained_vlm(path, SPEC, action_head_type="gaussiam")
    with pytest.raises(ConfigError, match=r"option: there is no 'lora_rank'"):
        VLAPolicy.from_pretrained_vlm(path, SPEC, lora_rank=4)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="without vlm_path name both models: vision_model_name, llm_model_name"):
        VLAPolicy.from_pretrained_vlm("", SPEC)
    content = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**content, "vision_feature_layer": [-2, -5]}))
    with pytest.raises(CheckpointError, match=r"takes layer \[-2, -5\]"):
        VLAPolicy.from_pretrained_vlm(path, SPEC)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    with pytest.raises(CheckpointError, match="not a vision-language model in Llava's layout"):
        VLAPolicy.from_pretrained_vlm(path, SPEC)
