"""Which parameters an optimiser steps alike."""

from __future__ import annotations

from typing import Any

from torch import nn

from sinew.core.errors import ConfigError
from sinew.engine.config import OptimConfig
from sinew.engine.muon import inner_matrices


def param_groups(module: nn.Module, config: OptimConfig) -> list[dict[str, Any]]:
    """Sort the names of what is trained by its part's learning rate, by whether it decays and by what steps it.

    Parameters of frozen parts need no gradient from now on.

    Returns:
        Groups of "names", "factor" of the learning rate, "weight_decay", and "muon": whether Muon steps it.

    Raises:
        ConfigError: a part is unknown, Muon's share is not above 0, or nothing is left to train.
    """
    parts = dict(config.parts or {})
    named = dict(module.named_parameters())
    unknown = [part for part in parts if not any(_within(name, part) for name in named)]
    if unknown or any(factor < 0 for factor in parts.values()):
        known = dict.fromkeys(".".join(name.split(".")[:depth]) for depth in (1, 2) for name in named)
        raise ConfigError(
            f"--optim.parts {parts}: wanted shares of the learning rate, 0 or more, by the names of parts. "
            f"There are {', '.join(known)}, and what is below them."
        )
    if config.muon is not None and config.muon <= 0:
        raise ConfigError(f"--optim.muon {config.muon}: wanted a share of the learning rate above 0, or none.")
    matrices = set[str]() if config.muon is None else inner_matrices(module)
    groups: dict[tuple[bool, float, bool], list[str]] = {}
    for name, parameter in named.items():
        nearest = max((part for part in parts if _within(name, part)), key=len, default=None)
        factor = 1.0 if nearest is None else parts[nearest]
        if not factor:
            parameter.requires_grad_(False)  # noqa: FBT003
        if parameter.requires_grad:
            key = name in matrices, factor, _decays(module, name)
            groups.setdefault(key, []).append(name)
    if not groups:
        raise ConfigError(f"{type(module).__name__}: nothing to train, all parameters are frozen. Unfreeze a part.")
    if all(muon for muon, _, _ in groups):
        raise ConfigError(f"--optim.muon {config.muon}: nothing but matrices learns here. Leave it out.")
    return [
        {
            "names": groups[muon, factor, decays],
            "factor": factor * config.muon if muon and config.muon else factor,
            "weight_decay": config.weight_decay if decays else 0.0,
            "muon": muon,
        }
        for muon, factor, decays in sorted(groups, key=lambda key: (key[0], -key[1], not key[2]))
    ]


def _within(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")


def _decays(module: nn.Module, name: str) -> bool:
    """Whether weight decay acts on a parameter: on matrices, not on norms and biases."""
    owner, _, own = name.rpartition(".")
    is_norm = "Norm" in type(module.get_submodule(owner)).__name__
    return module.get_parameter(name).ndim > 1 and not is_norm and own != "bias"
