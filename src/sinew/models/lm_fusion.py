"""The fusion through a causal language model: what is seen and felt stands before the words and is read with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sinew.core.errors import ConfigError
from sinew.core.types import Features
from sinew.models.encoder_config import CAUSAL
from sinew.models.heads.config import CacheLayout, FeatureLayout
from sinew.models.text_encoders import TextEncoder

if TYPE_CHECKING:
    from sinew.models.language import LanguageEncoder, Words

Cache = tuple[tuple[Tensor, Tensor], ...]


class LmFusion(nn.Module):
    """Runs the policy's language model over images, state and words (LLaVA, Liu 2023, arXiv:2304.08485).

    Holds no weights: those are of the language encoder, which is handed in with each call.

    Args:
        language: of the policy.
        width: D of the features.
        after: how many tokens of the words stand before the images.

    Raises:
        ConfigError: it is no causal language model, or of another width.
    """

    many = True

    def __init__(self, language: LanguageEncoder | TextEncoder, width: int, after: int = 0) -> None:
        super().__init__()
        if not isinstance(language, TextEncoder) or language.settings.model_type not in CAUSAL:
            raise ConfigError(
                "the lm fusion needs a causal language model that images can enter. "
                f"Set --policy.language.kind {' | '.join(CAUSAL)}."
            )
        if width != language.width:
            raise ConfigError(
                f"the lm fusion hands on the language model's tokens of width {language.width}, --policy.width is "
                f"{width}. Set it to {language.width}."
            )
        self.after, settings = after, language.settings
        size = getattr(settings, "head_dim", None) or width // settings.num_attention_heads
        rope = (settings.rope_parameters or {}).get("rope_theta", 10000.0)
        cache = CacheLayout(settings.num_hidden_layers, settings.num_key_value_heads, size, rope)
        self.layout = FeatureLayout(many=True, cache=cache, decodes=True)

    def forward(self, seen: Tensor, said: Words, felt: Tensor | None, model: Any) -> Features:  # noqa: ANN401
        """Return last hidden states, keys and values, and how to go on behind them; see ``fusion.AnyFusion``.

        Args:
            seen: (B, V, M, D).
            said: words as the model embeds them, (B, N, D).
            felt: (B, 1, D) or None.
            model: the language model of ``transformers``.
        """
        front = [seen.flatten(1, 2), *([] if felt is None else [felt])]
        first, others = said.tokens[:, : self.after], said.tokens[:, self.after :]
        tokens = torch.cat([first, *front, others], dim=1)
        before = tokens.shape[1] - said.tokens.shape[1]
        begun = said.mask[:, : self.after], said.mask.new_ones(len(tokens), before)
        mask = torch.cat([*begun, said.mask[:, self.after :]], dim=1)
        past = transformers_cache()
        output = model(
            inputs_embeds=tokens,
            attention_mask=causal(mask),
            position_ids=positions(mask),
            past_key_values=past,
            use_cache=True,
        )
        cache = tuple((layer.keys, layer.values) for layer in past.layers)
        return Features(output.last_hidden_state, mask, cache=cache, decode=Decode(model, cache, mask))


class Decode:
    """Goes on behind the tokens of a language model, any number of times from the same place.

    Args:
        model: of ``transformers``.
        cache: keys and values of each layer, (B, heads, N, size).
        mask: (B, N) bool, which of the N count.
    """

    def __init__(self, model: Any, cache: Cache, mask: Tensor) -> None:  # noqa: ANN401
        self.model, self.cache, self.mask = model, cache, mask

    def __call__(self, embeddings: Tensor) -> Tensor:
        """Return hidden states (B, M, D) of embeddings (B, M, D), each looking at those up to it."""
        past = transformers_cache()
        for number, (key, value) in enumerate(self.cache):
            past.update(key, value, number)
        further = self.mask.new_ones(embeddings.shape[:2])
        whole = torch.cat([self.mask, further], dim=1)
        return self.model(
            inputs_embeds=embeddings,
            attention_mask=causal(whole)[:, :, self.mask.shape[1] :],
            position_ids=positions(whole)[:, self.mask.shape[1] :],
            past_key_values=past,
            use_cache=True,
        ).last_hidden_state


def causal(mask: Tensor) -> Tensor:
    """Return who may look at whom, (B, 1, N, N) bool, where those in ``mask`` (B, N) count: at what comes before."""
    size = mask.shape[1]
    earlier = torch.ones(size, size, dtype=torch.bool, device=mask.device).tril()
    return earlier & mask[:, None, None, :]


def positions(mask: Tensor) -> Tensor:
    """Return the place of each token among those that count, (B, N)."""
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


def transformers_cache() -> Any:  # noqa: ANN401  (of transformers)
    """Return an empty store of keys and values."""
    import transformers.cache_utils

    return transformers.cache_utils.DynamicCache()
