"""Instructions to tokens through language models of ``transformers``, each with its own tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from sinew.core.errors import CheckpointError, ConfigError, DependencyError
from sinew.models.config import LanguageConfig
from sinew.models.encoder_config import CAUSAL, AnyTextConfig
from sinew.models.language import LanguageEncoder, WordIds, Words, train_tokenizer
from sinew.models.pretrained import Freezable, fetch, load_weights, quiet, read_blueprint, transformers_class

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from sinew.models.config import AnyLanguageConfig

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
        "qwen2", "Qwen2Model", "Qwen2Config", {"qwen2": "", "llava": "text_config"},
        "layers", "embed_tokens", "before", {}, {},
    ),
    "llama": Reader(
        "llama", "LlamaModel", "LlamaConfig", {"llama": "", "llava": "text_config"},
        "layers", "embed_tokens", "before", {}, {},
    ),
    "gemma": Reader(
        "gemma", "GemmaModel", "GemmaConfig", {"gemma": "", "paligemma": "text_config"},
        "layers", "embed_tokens", "before", {}, {},
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
        blueprint: what ``blueprint()`` returned, to be built like that with random weights; None goes by ``config``.

    Attributes:
        width: D of the tokens.
        voice: how it is spoken to, as JSON values, where it is that of a model that answers (``models/speaking.py``).
        head: to its words, where that is not its embedding.

    Raises:
        CheckpointError: what ``config.path`` names is missing, broken, of another kind, or has fewer words.
        ConfigError: a setting does not fit the model.
    """

    def __init__(self, config: AnyTextConfig, vocabulary: int, blueprint: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        reader = READERS[config.kind]
        place = fetch(config.path) if config.path and blueprint is None else None
        kind = transformers_class(reader.module, reader.blueprint)
        if blueprint is not None:
            self.settings: Any = kind.from_dict(blueprint["config"])
        elif place is not None:
            self.settings = read_blueprint(kind, place, reader.types)
        else:
            self.settings = kind(**_sizes(config, reader, vocabulary))
        self.settings._attn_implementation = "sdpa"  # noqa: SLF001  (takes the masks that ``forward`` makes)
        self._check(config, vocabulary)
        kind = transformers_class(reader.module, reader.model)
        if place is None:
            self.model: Any = kind(self.settings, **reader.arguments)
        else:
            self.model = load_weights(kind, self.settings, place, **reader.arguments)
        if config.kind == "gemma" and not hasattr(self.model.embed_tokens, "embed_scale"):
            raise DependencyError(
                "this release of transformers scales what enters a Gemma, also what are no words. Install a newer one: "
                "pip install -U transformers"
            )
        self.width: int = self.settings.hidden_size
        self.voice: Mapping[str, Any] | None = None if blueprint is None else blueprint.get("voice")
        self.head: nn.Linear | None = None
        if self.voice is not None and not self.settings.tie_word_embeddings:
            self.head = nn.Linear(self.width, self.settings.vocab_size, bias=False)
        self.causal = reader.context == "before"
        layers = self.model.get_submodule(reader.layers)
        self.freeze_first(config.frozen, layers, [self.model.get_submodule(reader.embeddings)])

    def forward(self, ids: Tensor) -> Words:
        """Return what the words of ids (B, N) mean; id -1 is padding.

        The first position counts even when it is padding, so that an empty instruction has a feature.
        """
        words = self.embed(ids)
        mask, ids = words.mask, ids.clamp(min=0)
        allowed = mask[:, None, None, :].expand(-1, 1, ids.shape[1], -1)
        if self.causal:
            allowed = allowed & torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).tril()
        tokens = self.model(input_ids=ids, attention_mask=allowed).last_hidden_state
        return Words(tokens, words.plain, mask)

    def embed(self, ids: Tensor) -> Words:
        """Return the same words out of context: what the model itself begins with."""
        mask = ids >= 0
        mask[:, 0] = True
        plain = self.model.get_input_embeddings()(ids.clamp(min=0))
        return Words(plain, plain, mask)

    def blueprint(self) -> dict[str, Any]:
        """Return what it takes to build this encoder again, but for weights, as JSON values."""
        voice = {} if self.voice is None else {"voice": dict(self.voice)}
        return {"config": self.settings.to_dict(), **voice}

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


def build_language(
    config: AnyLanguageConfig, vocabulary: int, blueprint: Mapping[str, Any] | None
) -> LanguageEncoder | TextEncoder:
    """Return the language encoder of these settings."""
    if isinstance(config, LanguageConfig):
        return LanguageEncoder(config, vocabulary)
    return TextEncoder(config, vocabulary, blueprint)


def ids_for(config: AnyLanguageConfig, tokenizer: Tokenizer) -> WordIds:
    """Return what turns instructions into the ids that such an encoder reads."""
    if isinstance(config, LanguageConfig):
        return WordIds(tokenizer, config.max_tokens)
    return WordIds(tokenizer, config.max_tokens, PADDING, config.ending or "", config.template or "")


def tokenizer_of(config: AnyLanguageConfig, sentences: Iterable[str]) -> Tokenizer:
    """Return the tokenizer of a language encoder: its own, or one of the words heard where its weights are random.

    Raises:
        CheckpointError: there is none at ``config.path``.
    """
    if isinstance(config, LanguageConfig):
        return train_tokenizer(sentences)
    tokenizer = read_tokenizer(fetch(config.path)) if config.path else train_tokenizer(sentences)
    tokenizer.no_padding()
    tokenizer.enable_truncation(config.max_tokens)
    return tokenizer


def read_tokenizer(place: Path) -> Tokenizer:
    """Return the tokenizer of a directory in the Hugging Face layout.

    Raises:
        CheckpointError: there is none, or it cannot be read.
    """
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


def _sizes(config: AnyTextConfig, reader: Reader, vocabulary: int) -> dict[str, Any]:
    sizes = config.random
    shared = {"num_key_value_heads": sizes.kv_heads} if config.kind in CAUSAL else {}
    if config.kind == "gemma":
        shared["head_dim"] = sizes.width // sizes.heads
    return {
        "vocab_size": vocabulary,
        "hidden_size": sizes.width,
        "intermediate_size": 4 * sizes.width,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "max_position_embeddings": sizes.positions,
        **shared,
        **reader.options,
    }
