"""Language encoders: the outputs of transformers on the same weights, whatever stands beside a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

import hub_models
from sinew.core.errors import CheckpointError, ConfigError
from sinew.models.encoder_config import CAUSAL, TEXT_ENCODERS, BertConfig, GemmaConfig, Qwen2Config, SiglipConfig
from sinew.models.encoders import VisionEncoder
from sinew.models.language import WordIds
from sinew.models.pretrained import transformers_class
from sinew.models.text_encoders import PADDING, TextEncoder, tokenizer_of

WORDS = ("go to the left thing", "put it down now", "")


def ids_of(tokenizer: Tokenizer) -> torch.Tensor:
    return WordIds(tokenizer, 32, padding=PADDING)(WORDS)


@pytest.mark.parametrize("kind", TEXT_ENCODERS)
def test_a_directory_gives_the_outputs_of_transformers(kind: str, tmp_path: Path) -> None:
    model = hub_models.text(kind, tmp_path)
    model = model.model if kind in CAUSAL else model.bert if kind == "bert" else model
    config = TEXT_ENCODERS[kind](path=str(tmp_path))
    tokenizer = tokenizer_of(config, ())
    encoder = TextEncoder(config, tokenizer.get_vocab_size()).eval()
    ids = ids_of(tokenizer)
    with torch.no_grad():
        words = encoder(ids)
        for row, sentence in enumerate(WORDS[:2]):
            alone = torch.tensor([tokenizer.encode(sentence).ids])
            wanted = model(input_ids=alone).last_hidden_state[0]
            assert int(words.mask[row].sum()) == alone.shape[1]
            torch.testing.assert_close(words.tokens[row, : alone.shape[1]], wanted, rtol=0, atol=1e-6)
    assert words.mask[2, 0]
    assert words.tokens.isfinite().all()


@pytest.mark.parametrize("kind", TEXT_ENCODERS)
def test_random_weights_speak_the_words_heard_and_run_on_meta(kind: str) -> None:
    config = TEXT_ENCODERS[kind]()
    tokenizer = tokenizer_of(config, hub_models.SENTENCES)
    encoder = TextEncoder(config, tokenizer.get_vocab_size())
    ids = ids_of(tokenizer)
    words = encoder(ids)
    assert words.tokens.shape == words.plain.shape == (*ids.shape, encoder.width)
    words.tokens[words.mask].square().mean().backward()
    assert sum(value.grad is not None for value in encoder.parameters()) == len(list(encoder.parameters()))
    assert encoder.to("meta")(ids.to("meta")).tokens.shape == words.tokens.shape


@pytest.mark.parametrize("kind", TEXT_ENCODERS)
def test_a_saved_blueprint_builds_the_same_encoder(kind: str, tmp_path: Path) -> None:
    hub_models.text(kind, tmp_path)
    config = TEXT_ENCODERS[kind](path=str(tmp_path), frozen="all")
    tokenizer = tokenizer_of(config, ())
    encoder = TextEncoder(config, tokenizer.get_vocab_size())
    kept = json.loads(json.dumps(encoder.blueprint()))
    again = TextEncoder(config, tokenizer.get_vocab_size(), blueprint=kept)
    again.load_state_dict(encoder.state_dict())
    ids = ids_of(tokenizer)
    assert torch.equal(again(ids).tokens, encoder(ids).tokens)
    assert not any(value.requires_grad for value in again.parameters())
    assert not again.train().model.training


def test_both_parts_of_a_paligemma_give_what_they_give_there(tmp_path: Path) -> None:
    torch.manual_seed(0)
    body = {**hub_models.BODY, "num_key_value_heads": 1, "head_dim": 8}
    settings = transformers_class("paligemma", "PaliGemmaConfig")(
        vision_config={"model_type": "siglip_vision_model", "vision_use_head": False, **hub_models.EYES},
        text_config={"model_type": "gemma", **body, "vocab_size": 304},
        projection_dim=16,
        image_token_id=303,
    )
    whole = transformers_class("paligemma", "PaliGemmaForConditionalGeneration")(settings)
    hub_models.byte_tokenizer("gemma").save(str(tmp_path / "tokenizer.json"))
    hub_models.write(whole, tmp_path, hub_models.pixels())
    config = GemmaConfig(path=str(tmp_path))
    tokenizer = tokenizer_of(config, ())
    encoder = TextEncoder(config, tokenizer.get_vocab_size()).eval()
    ids = torch.tensor([tokenizer.encode(WORDS[0]).ids])
    with torch.no_grad():
        earlier = torch.ones(1, 1, ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
        theirs = whole.model.language_model(input_ids=ids, attention_mask=earlier).last_hidden_state
        torch.testing.assert_close(encoder(ids).tokens, theirs, rtol=0, atol=1e-5)
        eye = VisionEncoder(SiglipConfig(path=str(tmp_path))).eval()
        images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
        seen = whole.model.vision_tower(eye.preprocess(images)).last_hidden_state
        torch.testing.assert_close(eye(images), seen, rtol=0, atol=1e-5)


def test_cutting_a_long_sentence_keeps_what_stands_around_it(tmp_path: Path) -> None:
    hub_models.text("bert", tmp_path)
    tokenizer = tokenizer_of(BertConfig(path=str(tmp_path), max_tokens=4), ())
    assert tokenizer.encode(" ".join(WORDS)).tokens[::3] == ["[CLS]", "[SEP]"]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    hub_models.text("qwen2", tmp_path)
    config = Qwen2Config(path=str(tmp_path))
    with pytest.raises(CheckpointError, match="the model knows 304 tokens, the tokenizer makes 305"):
        TextEncoder(config, 305)
    with pytest.raises(ConfigError, match="max_tokens 41: this qwen2 reads at most 40"):
        TextEncoder(Qwen2Config(path=str(tmp_path), max_tokens=41), 300)
    with pytest.raises(CheckpointError, match="model_type 'qwen2', wanted 'bert'"):
        TextEncoder(BertConfig(path=str(tmp_path)), 300)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="no tokenizer"):
        tokenizer_of(config, ())
