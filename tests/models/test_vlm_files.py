"""Vision-language models to disk and back, and against transformers' Llava on the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.small_vlm import VISIONS, qwen_directory, siglip_directory, small_vlm
from sinew.core.errors import CheckpointError
from sinew.core.files import read_json, write_json
from sinew.models.encoder_config import SiglipConfig
from sinew.models.projector_config import PerceiverProjectorConfig
from sinew.models.vlm import VLM, Draw
from sinew.models.vlm_config import CausalConfig, VlmConfig

IMAGES = torch.randint(0, 256, (2, 1, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
ASK = "<image>\nhow many ?"


@torch.no_grad()
def logits(vlm: VLM) -> torch.Tensor:
    ids = torch.tensor([vlm.chat().prompt(ASK)] * 2)
    return vlm.eval().logits(vlm.hidden(IMAGES, ids))


@torch.no_grad()
def theirs(path: Path, vlm: VLM) -> torch.Tensor:
    from transformers import LlavaForConditionalGeneration

    from sinew.models.pretrained import quiet

    with quiet():
        llava = LlavaForConditionalGeneration.from_pretrained(path).eval()
    ids = torch.tensor([vlm.chat().prompt(ASK)] * 2)
    pixels = vlm.vision.preprocess(IMAGES[:, 0])  # type: ignore[operator]
    return llava(input_ids=ids, pixel_values=pixels).logits


@pytest.mark.parametrize("kind", VISIONS)
def test_a_saved_model_answers_as_before_and_as_transformers_does(kind: str, tmp_path: Path) -> None:
    vlm = small_vlm(kind)
    vlm.save_pretrained(tmp_path)
    loaded = VLM.from_pretrained(tmp_path)
    assert (loaded.config, loaded.speech) == (vlm.config, vlm.speech)
    torch.testing.assert_close(logits(loaded), logits(vlm), atol=0, rtol=0)
    if read_json(tmp_path / "config.json")["model_type"] == "llava":
        torch.testing.assert_close(theirs(tmp_path, vlm), logits(vlm), atol=1e-5, rtol=0)


def test_pretrained_parts_of_the_real_layout_make_a_llava(tmp_path: Path) -> None:
    """SigLIP of both towers and a Qwen2 with ChatML, as their directories on the hub have them."""
    from transformers import Qwen2ForCausalLM

    qwen, siglip = qwen_directory(tmp_path / "qwen"), siglip_directory(tmp_path / "siglip")
    config = VlmConfig(vision=SiglipConfig(path=str(siglip), layer=-2), language=CausalConfig(path=str(qwen)))
    vlm = VLM.build(config)
    text = vlm.tokens.tokenizer.decode(vlm.chat().prompt(ASK), skip_special_tokens=False)
    image = "<image>" * vlm.image_tokens
    assert text == f"<|im_start|>user\n{image}\nhow many ?<|im_end|>\n<|im_start|>assistant\n"
    ids = torch.tensor([vlm.tokens.encode("how many ?")])
    with torch.no_grad():
        alone = Qwen2ForCausalLM.from_pretrained(qwen)(input_ids=ids).logits
        torch.testing.assert_close(vlm.logits(vlm.hidden(None, ids))[..., : alone.shape[-1]], alone)
    whole = tmp_path / "whole"
    whole.mkdir()
    vlm.save_pretrained(whole)
    torch.testing.assert_close(theirs(whole, vlm), logits(vlm), atol=1e-5, rtol=0)
    content = read_json(whole / "config.json")
    del content["sinew"]  # as somebody else's model
    write_json(whole / "config.json", content)
    foreign = VLM.from_pretrained(whole)
    assert foreign.speech == vlm.speech
    torch.testing.assert_close(logits(foreign), logits(vlm), atol=0, rtol=0)
    write_json(whole / "config.json", {**content, "vision_feature_layer": -1})
    last = VLM.from_pretrained(whole)
    torch.testing.assert_close(theirs(whole, last), logits(last), atol=1e-5, rtol=0)
    assert not torch.equal(logits(last), logits(foreign))
    assert isinstance(foreign.answer(IMAGES.numpy(), [ASK, ASK], Draw(tokens=2))[0], str)


def test_other_projectors_are_kept_in_our_own_layout(tmp_path: Path) -> None:
    config = VlmConfig(
        vision=VISIONS["siglip"],
        projector=PerceiverProjectorConfig(latents=3, heads=2),
        language=small_vlm("stem").config.language,
    )
    vlm = VLM.build(config, ["how many ?"])
    vlm.save_pretrained(tmp_path)
    torch.testing.assert_close(logits(VLM.from_pretrained(tmp_path)), logits(vlm), atol=0, rtol=0)


@pytest.mark.parametrize("damage", ["missing", "kind", "weights", "schema"])
def test_what_cannot_be_read_is_named(damage: str, tmp_path: Path) -> None:
    small_vlm("stem").save_pretrained(tmp_path)
    content = read_json(tmp_path / "config.json")
    wanted = {
        "missing": "no such directory",
        "kind": "model of type 'bert'",
        "weights": "fit together",
        "schema": "schema 9",
    }
    if damage == "kind":
        content["model_type"] = "bert"
    elif damage == "schema":
        content["sinew"]["schema_version"] = 9
    elif damage == "weights":
        content["sinew"]["config"]["language"]["width"] = 32
        content["text_config"]["hidden_size"] = 32
    write_json(tmp_path / "config.json", content)
    with pytest.raises(CheckpointError, match=wanted[damage]):
        VLM.from_pretrained(tmp_path / "nowhere" if damage == "missing" else tmp_path)
