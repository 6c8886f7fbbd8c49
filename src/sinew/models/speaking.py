"""A policy around a vision-language model, and that model out of a policy: both share their weights."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from sinew.core.errors import ConfigError, require
from sinew.models.config import PolicyConfig
from sinew.models.encoder_config import CAUSAL, LmFusionConfig
from sinew.models.encoders import VisionEncoder
from sinew.models.fused import FusedNetwork
from sinew.models.lm_fusion import LmFusion
from sinew.models.policy import VLAPolicy
from sinew.models.pretrained import EXTRA
from sinew.models.projector_config import MlpProjectorConfig
from sinew.models.text_encoders import TextEncoder
from sinew.models.vlm import VLM
from sinew.models.vlm_config import CausalConfig, VlmConfig
from sinew.models.vlm_parts import Parts, Speech, Tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from sinew.core.types import RobotSpec


def embodied(vlm: VLM, config: PolicyConfig, spec: RobotSpec | Sequence[RobotSpec]) -> VLAPolicy:
    """Return a policy around a model: its encoder, projector and language model, and a new action head.

    The parts are shared, so what teaches one teaches the other. It has no statistics yet, see ``fit_normalizer``.

    Args:
        vlm: that sees and reads for the policy; on the CPU.
        config: of the policy; what it says of vision, language, projector, fusion and width is the model's own here.
        spec: of the robot, or of the several that it learns.

    Raises:
        ConfigError: the language model is of none of the kinds in ``CAUSAL``.
    """
    lm: Any = vlm.lm
    if lm.config.model_type not in CAUSAL:
        raise ConfigError(
            f"the language model is a {lm.config.model_type!r}; a body can be given to {' and '.join(CAUSAL)}. "
            "Take another model."
        )
    encoder = vlm.vision
    seen = {"vision": encoder.blueprint()} if isinstance(encoder, VisionEncoder) else {}
    said = {"speech": dataclasses.asdict(vlm.speech), "template": vlm.tokens.template}
    voice = {**said, "max_tokens": vlm.config.max_tokens}
    blueprints = {**seen, "language": {"config": lm.config.to_dict(), "voice": voice}}
    tokens = config.language.max_tokens
    whole = dataclasses.replace(
        config,
        vision=vlm.config.vision,
        language=CAUSAL[lm.config.model_type](max_tokens=tokens),
        projector=vlm.config.projector,
        fusion=LmFusionConfig(),
        width=lm.config.hidden_size,
    )
    tokenizer = _copied(vlm.tokens.tokenizer)
    tokenizer.no_padding()
    tokenizer.enable_truncation(tokens)
    policy = VLAPolicy(whole, spec, tokenizer, blueprints)
    network = cast("FusedNetwork", policy.network)
    language = cast("TextEncoder", network.language)
    network.vision = cast("Any", encoder)
    network.project = cast("Any", vlm.projector)
    language.model = lm.get_decoder()
    if language.head is not None:
        language.head = lm.get_output_embeddings()
    return policy


def speaker_of(policy: VLAPolicy) -> VLM:
    """Return the vision-language model inside a policy; ask again after the policy went to another device.

    Raises:
        ConfigError: there is none, or it was never taught to answer.
    """
    network = policy.network
    language = getattr(network, "language", None)
    inside = isinstance(network, FusedNetwork) and isinstance(network.fusion, LmFusion)
    if not (inside and isinstance(language, TextEncoder) and language.voice is not None):
        config = policy.config
        raise ConfigError(
            f"this policy ({config.vision.kind}, {config.language.kind}, fusion "
            f"{'none' if config.fusion is None else config.fusion.kind}) has no vision-language model that can be "
            "asked, so text teaches it nothing. Build it around one: sinew train vla-three-stage, or "
            "models.speaking.embodied."
        )
    assert isinstance(network, FusedNetwork)
    tokenizer = _copied(policy.tokenizer)
    tokenizer.no_truncation()
    voice: Mapping[str, Any] = language.voice
    config = VlmConfig(
        vision=cast("Any", policy.config.vision),
        projector=policy.config.projector or MlpProjectorConfig(),
        language=CausalConfig(),
        max_tokens=int(voice["max_tokens"]),
    )
    speech: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in voice["speech"].items()
    }
    tokens = Tokens(tokenizer, voice["template"])
    parts = Parts(config, network.vision, network.project, _answering(language), tokens, Speech(**speech))
    return VLM(parts)


def learn_words(vlm: VLM, sentences: Iterable[str]) -> tuple[str, ...]:
    """Let a model whose words were learned from data know further ones, and return them; others know all already.

    The new words begin at random, drawn like the others (seed before).
    """
    content: dict[str, Any] = json.loads(vlm.tokens.tokenizer.to_str())
    if content["model"]["type"] != "WordLevel":
        return ()
    from tokenizers import Tokenizer

    known: dict[str, int] = content["model"]["vocab"]
    tokenizer = vlm.tokens.tokenizer
    found: set[str] = set()
    for sentence in sentences:
        plain = sentence if tokenizer.normalizer is None else tokenizer.normalizer.normalize_str(sentence)
        found |= {word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(plain)}
    new = tuple(sorted(found - set(known)))
    if new:
        first = max(known.values()) + 1
        content["model"]["vocab"] = {**known, **{word: first + number for number, word in enumerate(new)}}
        vlm.tokens = Tokens(Tokenizer.from_str(json.dumps(content)), vlm.tokens.template)
        _widen(vlm.lm, first + len(new))
    return new


@torch.no_grad()
def _widen(lm: Any, count: int) -> None:  # noqa: ANN401  (of transformers)
    """Give a language model room for so many words, the new ones drawn with the spread of the old."""
    table = lm.get_input_embeddings().weight
    had, spread = len(table), table.std()
    if count > had:
        lm.resize_token_embeddings(count, mean_resizing=False)
        fresh = lm.get_input_embeddings().weight[had:]
        fresh.copy_(spread * torch.randn_like(fresh))


def _answering(language: TextEncoder) -> nn.Module:
    """Return a causal language model of ``transformers`` around an encoder's own weights."""
    transformers = require("transformers", extra=EXTRA)
    with torch.device("meta"):
        lm: Any = transformers.AutoModelForCausalLM.from_config(language.settings)
    setattr(lm, lm.base_model_prefix, language.model)
    head: Any = language.head
    if head is None:
        head = nn.Linear(1, 1, bias=False)
        head.weight = language.model.get_input_embeddings().weight
    lm.set_output_embeddings(head)
    return lm


def _copied(tokenizer: Tokenizer) -> Tokenizer:
    from tokenizers import Tokenizer

    return Tokenizer.from_str(tokenizer.to_str())
