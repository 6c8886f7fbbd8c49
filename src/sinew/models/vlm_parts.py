"""The parts of a vision-language model: encoder, projector, causal language model, and how it is spoken to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from sinew.core.chat import IMAGE
from sinew.core.errors import CheckpointError, ConfigError, require
from sinew.models.encoders import VisionEncoder
from sinew.models.language import PAD, UNKNOWN
from sinew.models.pretrained import EXTRA, fetch, quiet
from sinew.models.projectors import build_projector
from sinew.models.vlm_config import CausalConfig, StemConfig, VlmConfig
from sinew.models.vlm_vision import StemVision, TokenEncoder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ANSWER, END = "<answer>", "<end>"
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ message['content'] }}{% else %}"
    + ANSWER
    + "{{ message['content'] }}"
    + END
    + "{% endif %}{% endfor %}{% if add_generation_prompt %}"
    + ANSWER
    + "{% endif %}"
)
"""Chat template of models whose words are learned from the data."""
MARK = "\x01"
"""Stands around a text in a rendered template, to find it again."""


@dataclass(frozen=True)
class Speech:
    """How a model is spoken to: the texts around what is said, and the ids that mean something.

    Attributes:
        image: id that stands for a token of an image.
        pad: id behind the end of a row.
        end: ids that end an answer; the first one stops generation.
        start: text before everything.
        human: text before what human says. gpt: text before what the model says.
        begin: ids before everything.
    """

    image: int
    pad: int
    end: tuple[int, ...]
    start: str = ""
    human: str = "USER: "
    gpt: str = " ASSISTANT: "
    begin: tuple[int, ...] = ()


class Tokens:
    """Text to ids and back.

    Attributes:
        tokenizer: knows ``<image>`` as one special token.
        template: chat template (Jinja), for others who read a directory of ours.
    """

    def __init__(self, tokenizer: Tokenizer, template: str) -> None:
        self.tokenizer, self.template = tokenizer, template

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without any of start or end."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special ones left out."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True).strip()


@dataclass(frozen=True)
class Parts:
    """What a vision-language model is made of.

    Attributes:
        config: that they were built by.
        vision: images to tokens. projector: these to the language model's width. lm: of transformers.
        tokens: text to ids and back. speech: how it is spoken to.
    """

    config: VlmConfig
    vision: nn.Module
    projector: nn.Module
    lm: nn.Module
    tokens: Tokens
    speech: Speech


def build_parts(config: VlmConfig, texts: Iterable[str] = ()) -> Parts:
    """Return the parts of a model: pretrained where a path says so, else with random weights (seed before).

    Args:
        config: its parts.
        texts: hold every word that a language model without a path must know.

    Raises:
        CheckpointError: a path holds no such model.
        ConfigError: sizes do not fit.
        DependencyError: transformers is not installed.
    """
    vision = build_vision(config)
    language = config.language
    lm, tokens, speech = _pretrained_lm(language.path) if language.path else _random_lm(config, texts)
    width: int = cast("Any", lm).config.hidden_size
    return Parts(config, vision, join(config, vision, width), lm, tokens, speech)


def build_vision(config: VlmConfig, blueprint: Mapping[str, Any] | None = None) -> nn.Module:
    """Return the vision encoder of a model; with a blueprint it is built like that one, its weights to be loaded."""
    if isinstance(config.vision, StemConfig):
        return StemVision(config.vision)
    return VisionEncoder(config.vision, blueprint)


def join(config: VlmConfig, vision: nn.Module, width: int) -> nn.Module:
    """Return the projector from an encoder's tokens to a language model's width."""
    encoder: TokenEncoder = cast("Any", vision)
    return build_projector(config.projector, encoder.channels, width, encoder.grid[0] * encoder.grid[1])


def _random_lm(config: VlmConfig, texts: Iterable[str]) -> tuple[nn.Module, Tokens, Speech]:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    transformers = require("transformers", extra=EXTRA)
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [PAD, UNKNOWN, END, ANSWER, IMAGE]
    trainer = trainers.WordLevelTrainer(special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(sorted(set(texts)), trainer)
    pad, end, image = (id_of(tokenizer, name) for name in (PAD, END, IMAGE))
    sizes: CausalConfig = config.language
    made = transformers.Qwen2Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=sizes.width,
        intermediate_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.heads,
        max_position_embeddings=config.max_tokens,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=pad,
    )
    speech = Speech(image=image, pad=pad, end=(end,), human="", gpt=ANSWER)
    lm = transformers.Qwen2ForCausalLM(made)
    _spread(lm)
    return lm, Tokens(tokenizer, TEMPLATE), speech


def id_of(tokenizer: Tokenizer, name: str) -> int:
    """Return the id of a special token.

    Raises:
        ConfigError: the tokenizer does not know it.
    """
    found = tokenizer.token_to_id(name)
    if found is None:
        raise ConfigError(f"the tokenizer does not know {name}. Add it as a special token.")
    return found


def _spread(lm: nn.Module) -> None:
    """Draw the weights by their fan-in.

    The usual deviation of 0.02 is meant for widths of thousands. At a width of a hundred it leaves attention and logits
    almost even, and colours, shapes and places are not learned within the updates that are affordable here.
    """
    embedding = cast("Any", lm).get_input_embeddings().weight
    for weight in lm.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=(2.0 if weight is embedding else 1.0) * weight.shape[1] ** -0.5)


def _pretrained_lm(path: str) -> tuple[nn.Module, Tokens, Speech]:
    """Return a causal language model with its tokenizer, ``<image>`` added to it where it was not known."""
    transformers = require("transformers", extra=EXTRA)
    place = fetch(path)
    try:
        with quiet():
            lm = transformers.AutoModelForCausalLM.from_pretrained(
                place, dtype=torch.float32, use_safetensors=True, local_files_only=True
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(place, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: no causal language model with a tokenizer ({str(error).partition(chr(10))[0]}). "
            "Name a directory in the Hugging Face layout, or an id on the hub."
        ) from error
    tokens, speech = spoken(tokenizer)
    if speech.image >= lm.get_input_embeddings().num_embeddings:
        with quiet():
            lm.resize_token_embeddings(speech.image + 1, mean_resizing=False)
    return lm, tokens, speech


def spoken(tokenizer: Any) -> tuple[Tokens, Speech]:  # noqa: ANN401  (a tokenizer of transformers)
    """Return how a tokenizer of transformers is spoken to, read off its chat template.

    Two exchanges are rendered and cut where their texts stand, so any template that treats all exchanges alike will do.

    Raises:
        ConfigError: the template does not.
    """
    if tokenizer.convert_tokens_to_ids(IMAGE) in (None, tokenizer.unk_token_id):
        tokenizer.add_tokens([IMAGE], special_tokens=True)
    inner: Tokenizer = tokenizer.backend_tokenizer
    image, eos = id_of(inner, IMAGE), tokenizer.eos_token_id
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else eos
    template = tokenizer.chat_template
    if not template:
        start = (tokenizer.bos_token_id,) if getattr(tokenizer, "add_bos_token", False) else ()
        return Tokens(inner, ""), Speech(image=image, pad=pad, end=(eos,), begin=start)
    said = [("user", "U1"), ("assistant", "A1"), ("user", "U2"), ("assistant", "A2")]
    messages = [{"role": role, "content": f"{MARK}{text}{MARK}"} for role, text in said]
    parts: list[str] = tokenizer.apply_chat_template(messages, tokenize=False).split(MARK)
    if len(parts) != 9 or not parts[8] or not parts[4].startswith(parts[8]):
        raise ConfigError(
            "the tokenizer's chat template does not treat two exchanges alike, each answer with an end behind it. "
            "Set chat_template in tokenizer_config.json to one that does, or leave it out."
        )
    end, human = parts[8], parts[4].removeprefix(parts[8])
    ids = tuple(inner.encode(end, add_special_tokens=False).ids)
    start = parts[0].removesuffix(human)
    return Tokens(inner, template), Speech(image, pad, ids, start=start, human=human, gpt=parts[2])
