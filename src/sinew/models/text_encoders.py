"""Instructions to tokens through language models of ``transformers``, each with its own tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from sinew.core.errors import CheckpointError, ConfigError
from sinew.core.files import write_json
from sinew.models.encoder_config import AnyTextConfig
from sinew.models.language import Words, train_tokenizer
from sinew.models.pretrained import Freezable, fetch, load_weights, quiet, read_blueprint, transformers_class

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PADDING = -1
"""Id of padding for these encoders; models have one of their own, or none, and some use it for more than padding."""


VOCABULARIES = ("vocab.json", "vocab.txt", "tokenizer.model", "spiece.model")
"""Files of tokenizers from before tokenizer.json."""


@dataclass(frozen=True)
class Reader:
    """What ``transformers`` calls the parts of a language model.

    Attributes:
        module: below ``transformers.models``.
        model: class. blueprint: class of its configuration.
        types: see ``read_blueprint``.
        layers: path of its layers. embeddings: path of what comes before them.
        context: which words a word sees.
        options: of the configuration with random weights. arguments: of the model's class.
    """

    module: str
    model: str
    blueprint: str
    types: Mapping[str, str]
    layers: str
    embeddings: str
    context: Literal["before", "around"]
    options: Mapping[str, Any]
    arguments: Mapping[str, Any]


READERS = {
    "qwen2": Reader(
        "qwen2", "Qwen2Model", "Qwen2Config", {"qwen2": ""}, "layers", "embed_tokens", "before", {}, {}
    ),
    "bert": Reader(
        "bert", "BertModel", "BertConfig", {"bert": ""}, "encoder.layer", "embeddings", "around",
        {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}, {"add_pooling_layer": False},
    ),
    "clip_text": Reader(
        "clip", "CLIPTextModel", "CLIPTextConfig", {"clip_text_model": "", "clip": "text_config"},
        "encoder.layers", "embeddings", "before", {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}, {},
    ),
}  # fmt: skip


class TextEncoder(Freezable):
    """One language model: ids in, words in context out.

    Args:
        config: its kind, and where its weights come from.
        vocabulary: V of the tokenizer.
        blueprint: directory that ``save`` wrote, to be built like that with random weights; None goes by ``config``.

    Attributes:
        width: D of the tokens.

    Raises:
        CheckpointError: what ``config.path`` names is missing, broken, of another kind, or has fewer words.
        ConfigError: a setting does not fit the model.
    """

    def __init__(self, config: AnyTextConfig, vocabulary: int, blueprint: Path | None = None) -> None:
        super().__init__()
        reader = READERS[config.kind]
        place = blueprint or (fetch(config.path) if config.path else None)
        self.settings = _settings(config, reader, place, vocabulary)
        self._check(config, vocabulary)
        kind = transformers_class(reader.module, reader.model)
        if place is None or blueprint:
            self.model: Any = kind(self.settings, **reader.arguments)
        else:
            self.model = load_weights(kind, self.settings, place, **reader.arguments)
        self.width: int = self.settings.hidden_size
        self.causal = reader.context == "before"
        layers = self.model.get_submodule(reader.layers)
        self.freeze_first(config.frozen, layers, [self.model.get_submodule(reader.embeddings)])

    def forward(self, ids: Tensor) -> Words:
        """Return what the words of ids (B, N) mean; id -1 is padding.

        The first position counts even when it is padding, so that an empty instruction has a feature.
        """
        mask = ids >= 0
        mask[:, 0] = True
        ids = ids.clamp(min=0)
        allowed = mask[:, None, None, :].expand(-1, 1, ids.shape[1], -1)
        if self.causal:
            allowed = allowed & torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).tril()
        tokens = self.model(input_ids=ids, attention_mask=allowed).last_hidden_state
        return Words(tokens, self.model.get_input_embeddings()(ids), mask)

    def save(self, directory: Path) -> None:
        """Write what it takes to build this encoder again, but for weights, into an existing directory."""
        write_json(directory / "config.json", self.settings.to_dict())

    def _check(self, config: AnyTextConfig, vocabulary: int) -> None:
        if vocabulary > self.settings.vocab_size:
            raise CheckpointError(
                f"{config.path}: the model knows {self.settings.vocab_size} tokens, the tokenizer makes {vocabulary}. "
                "Take both from one model."
            )
        if config.max_tokens > self.settings.max_position_embeddings:
            raise ConfigError(
                f"max_tokens {config.max_tokens}: this {config.kind} reads at most "
                f"{self.settings.max_position_embeddings} tokens. Set at most that."
            )


def tokenizer_of(config: AnyTextConfig, sentences: Iterable[str]) -> Tokenizer:
    """Return the tokenizer of a language model: its own, or one of the words heard where its weights are random.

    Raises:
        CheckpointError: there is none at ``config.path``.
    """
    tokenizer = _read_tokenizer(fetch(config.path)) if config.path else train_tokenizer(sentences)
    tokenizer.no_padding()
    tokenizer.enable_truncation(config.max_tokens)
    return tokenizer


def _read_tokenizer(place: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    if (place / "tokenizer.json").is_file():
        return Tokenizer.from_file(str(place / "tokenizer.json"))
    if not any((place / name).is_file() for name in VOCABULARIES):
        raise CheckpointError(f"{place}: no tokenizer. Put its tokenizer.json beside the weights.")
    try:
        with quiet():
            found = transformers_class("auto", "AutoTokenizer").from_pretrained(place, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{place}: its tokenizer cannot be read ({error}). Put a tokenizer.json there."
        ) from error
    return found.backend_tokenizer


def _settings(config: AnyTextConfig, reader: Reader, place: Path | None, vocabulary: int) -> Any:  # noqa: ANN401
    kind = transformers_class(reader.module, reader.blueprint)
    if place is not None:
        settings = read_blueprint(kind, place, reader.types)
        settings._attn_implementation = "sdpa"  # noqa: SLF001  (takes the masks that ``forward`` makes)
        return settings
    sizes = config.random
    return kind(
        vocab_size=vocabulary,
        hidden_size=sizes.width,
        intermediate_size=4 * sizes.width,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        max_position_embeddings=sizes.positions,
        attn_implementation="sdpa",
        **({"num_key_value_heads": sizes.kv_heads} if config.kind == "qwen2" else {}),
        **reader.options,
    )
