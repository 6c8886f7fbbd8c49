"""Low-rank adapters through ``peft``: put into encoders, trained in place of their weights, merged when kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from sinew.core.errors import ConfigError, require
from sinew.models.pretrained import EXTRA

if TYPE_CHECKING:
    from sinew.models.encoder_config import LoraConfig

NAMES = (
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "out_proj",
    "query",
    "key",
    "value",
    "up_proj",
    "down_proj",
    "gate_proj",
)
"""What attention's and the feed-forward layers' linear maps are called in the models of ``transformers``."""
BASE = ".base_layer."
ADAPTERS = ".lora_"


def add_lora(part: nn.Module, config: LoraConfig, name: str) -> None:
    """Put adapters beside the linear maps of a module; all its other weights stay as they are from now on.

    The adapters add nothing at first (Hu 2021, arXiv:2106.09685), so outputs are what they were.

    Args:
        part: changed in place.
        config: rank and scale.
        name: of the part, for messages.

    Raises:
        ConfigError: there is nothing that adapters could stand beside.
        DependencyError: peft is not installed.
    """
    peft = require("peft", extra=EXTRA)
    linear = {path.rpartition(".")[2] for path, layer in part.named_modules() if isinstance(layer, nn.Linear)}
    targets = sorted(linear & set(config.targets or NAMES))
    if not targets:
        raise ConfigError(
            f"LoRA finds nothing to stand beside in the {name}: its linear maps are "
            f"{', '.join(sorted(linear)) or 'none'}. "
            "Name some of them with --policy.lora.targets, or leave this part out of --policy.lora.parts."
        )
    settings = peft.LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=targets, bias="none"
    )
    peft.inject_adapter_in_model(settings, part)
    for path, weight in part.named_parameters():
        weight.requires_grad_(ADAPTERS in path)


def merged(module: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a module as if it had never had adapters, with what they learned added in."""
    deltas: dict[str, Tensor] = {}
    for path, layer in module.named_modules():
        adapted: Any = layer
        if hasattr(adapted, "base_layer") and hasattr(adapted, "get_delta_weight"):
            deltas[f"{path}.weight"] = sum(adapted.get_delta_weight(name) for name in adapted.active_adapters)  # type: ignore[assignment]
    weights: dict[str, Tensor] = {}
    for path, weight in module.state_dict().items():
        if ADAPTERS not in path:
            plain = path.replace(BASE, ".")
            weights[plain] = weight + deltas[plain].to(weight.dtype) if plain in deltas else weight
    return weights
