"""Whole copies of modules whose weights ranks share, for acting and saving, and the layers that are cut as one."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from sinew.engine.distributed import world


class WholeCopy:
    """A copy of a module with all its weights in the CPU memory of rank 0, and with shapes alone on the others.

    Args:
        module: before its weights are shared.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._shapes = emptied(module, "meta")
        self._filled: nn.Module | None = None

    @torch.no_grad()
    def fill(self, parts: Iterable[tuple[str, Tensor]]) -> nn.Module:
        """Return the copy in evaluation mode with these parameters and the module's buffers; always the same object.

        Args:
            parts: name and all of each parameter; every rank goes through them, one after another.
        """
        main = world().is_main
        if self._filled is None:
            self._filled = emptied(self._shapes, "cpu" if main else "meta")
        filled = dict(self._filled.named_parameters())
        for name, full in parts:
            if main:
                filled[name].copy_(full)
        if main:
            for target, source in zip(self._filled.buffers(), self.module.buffers(), strict=True):
                target.copy_(source)
        return self._filled.requires_grad_(requires_grad=False).eval()


def emptied(module: nn.Module, device: str) -> nn.Module:
    """Return a copy of a module with its shapes, its tied weights, and no numbers: on ``meta`` without memory."""
    tensors = [*module.parameters(), *module.buffers()]
    empty = {id(tensor): torch.empty_like(tensor, device=device) for tensor in tensors}
    kept = {
        key: nn.Parameter(empty[key], requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new
        for tensor, (key, new) in zip(tensors, empty.items(), strict=True)
    }
    return copy.deepcopy(module, cast("dict[int, Any]", kept))


def blocks(module: nn.Module) -> list[nn.Module]:
    """Return the layers that are gathered one at a time: the members of lists of modules of one class with weights."""
    found: list[nn.Module] = []
    for group in module.modules():
        members = list(group) if isinstance(group, nn.ModuleList) else []
        alike = len({type(member) for member in members}) == 1 and len(members) > 1
        if alike and all(any(True for _ in member.parameters()) for member in members):
            found += members
    inner = {id(part) for block in found for part in block.modules() if part is not block}
    return [block for block in found if id(block) not in inner]
