"""Muon: steps of matrices whose directions all have the same size."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd  # pyright: ignore

MOMENTUM = 0.95
STEPS = 5
QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of x + x^3 + x^5 that take singular values from above 0 to near 1 in five steps (Jordan 2024)."""


class Muon(torch.optim.Optimizer):
    """Momentum made orthogonal (Jordan 2024, kellerjordan.github.io/posts/muon), for the matrices within a network.

    A step is lr * 0.2 * sqrt(max(rows, columns)) times the nearest orthogonal matrix to the momentum, so that a weight
    moves about as far as by AdamW and takes its learning rate (Liu 2025, arXiv:2502.16982, section 2.2). A convolution
    is a matrix of what it makes by what it sees. Matrices of one shape are made orthogonal together.

    ``torch.optim.Muon`` came with torch 2.9, takes one matrix at a time in bfloat16, and cannot leave out a step on the
    device.

    Args:
        groups: of parameters, as torch takes them, with ``weight_decay``.
        lr: learning rate of groups that have none.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0})

    def step(self, closure: None = None) -> None:  # pyright: ignore
        """Take one step with the gradients as they are."""
        del closure
        self.apply(None, None)

    @torch.no_grad()
    def apply(self, shrunk: Tensor | None, bad: Tensor | None) -> None:
        """Take one step with the gradients as they are.

        Args:
            shrunk: 0-dim, what gradients are divided by, on their device; None means 1.
            bad: 0-dim, 1 where nothing may change, on their device; None means that all is well.
        """
        for group in self.param_groups:
            alike: dict[tuple[torch.Size, torch.device], list[nn.Parameter]] = {}
            for item in group["params"]:
                if item.grad is not None:
                    alike.setdefault((item.flatten(1).shape, item.device), []).append(item)
            for items in alike.values():
                self._step(items, group["lr"], group["weight_decay"], shrunk, bad)

    def _step(
        self, items: list[nn.Parameter], lr: float, decay: float, shrunk: Tensor | None, bad: Tensor | None
    ) -> None:
        gradients = torch.stack([cast("Tensor", item.grad).flatten(1) for item in items])
        if shrunk is not None:
            gradients = gradients / shrunk
        if bad is not None:
            gradients = torch.where(bad > 0, 0.0, gradients)  # what is not finite must not touch the momentum
        for item in items:
            if not self.state[item]:
                self.state[item]["momentum"] = torch.zeros_like(item)
        before = torch.stack([self.state[item]["momentum"].flatten(1) for item in items])
        momentum = before.lerp(gradients, 1 - MOMENTUM)
        moves = orthogonal(gradients.lerp(momentum, MOMENTUM)) * (-lr * 0.2 * math.sqrt(max(gradients.shape[1:])))
        stays = 1.0 - lr * decay
        if bad is not None:
            momentum = torch.where(bad > 0, before, momentum)
            moves = torch.where(bad > 0, 0.0, moves)
            stays = torch.where(bad > 0, 1.0, stays)
        for item, move, average in zip(items, moves, momentum, strict=True):
            item.mul_(stays).add_(move.reshape(item.shape))
            self.state[item]["momentum"].copy_(average.reshape(item.shape))


def orthogonal(matrices: Tensor) -> Tensor:
    """Return matrices (B, M, N) with singular values near 1 and the same singular vectors, by Newton and Schulz.

    Five steps bring singular values from a hundredth of the largest on to between 0.7 and 1.2.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    found = matrices.mT if tall else matrices
    found = found / (found.norm(dim=(1, 2), keepdim=True) + 1e-7)
    first, third, fifth = QUINTIC
    for _ in range(STEPS):
        square = found @ found.mT
        found = first * found + torch.baddbmm(third * square, square, square, beta=1.0, alpha=fifth) @ found
    return found.mT if tall else found


def inner_matrices(module: nn.Module) -> set[str]:
    """Return the names of the weights that Muon is for: of linear, convolution and attention layers within a network.

    Embeddings, the layer that tells words from hidden states, adapters of low rank and single vectors are not.
    """
    ends = {id(weight) for part in module.modules() for weight in _words(part)}
    found: set[str] = set()
    for name, item in module.named_parameters():
        owner, _, own = name.rpartition(".")
        layer = module.get_submodule(owner)
        linear = isinstance(layer, (nn.Linear, _ConvNd)) and own == "weight"
        attention = isinstance(layer, nn.MultiheadAttention) and own == "in_proj_weight"
        if (linear or attention) and item.ndim > 1 and id(item) not in ends and "lora_" not in name:
            found.add(name)
    return found


def _words(part: nn.Module) -> Iterable[Tensor]:
    """Yield the weights of a layer of words."""
    if isinstance(part, nn.Embedding):
        yield part.weight
    ask = getattr(part, "get_output_embeddings", None)
    if ask is not None and (head := ask()) is not None:
        yield head.weight
