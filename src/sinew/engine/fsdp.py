"""A trained module of which every rank has a part, by torch's FSDP2."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from sinew.core.errors import TrainingError
from sinew.engine.acting import WholeCopy, blocks
from sinew.engine.config import OptimConfig
from sinew.engine.distributed import world
from sinew.engine.sharing import Entry, require_same_weights


class Shards:
    """Every rank has a part of each parameter and gathers the rest while it computes (FSDP2, Zhao 2023).

    Parameters that are single numbers cannot be cut; every rank has them.

    Args:
        module: what is trained; its weights must be the same on every rank, and are cut up in place.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module, self.ranks = module, world()
        self.parted = True
        self._copy = WholeCopy(module)
        require_same_weights(module)
        # A loss term is a view of the rows' losses; nobody changes one in place.
        warnings.filterwarnings("ignore", message=".*FSDP2-wrapped module .* returned a view tensor.*")
        device = next(module.parameters()).device
        self.mesh: DeviceMesh | None = init_device_mesh(device.type, (self.ranks.size,))
        numbers = {parameter for parameter in module.parameters() if parameter.ndim == 0}
        for block in blocks(module):
            fully_shard(block, mesh=self.mesh, ignored_params=numbers)
        self.entry = Entry(module)
        fully_shard(self.entry, mesh=self.mesh, ignored_params=numbers)
        self.every = dict(module.named_parameters())
        self.sharded = {name: cast("DTensor", item) for name, item in self.every.items() if item.ndim}
        self.names = [name for name, item in self.every.items() if item.requires_grad]
        self.parameters = [self._part(name) for name in self.names]

    def call(self, name: str, *arguments: Any) -> Any:  # noqa: ANN401
        """Call the method with gathered weights."""
        return self.entry(name, *arguments)

    @contextmanager
    def syncing(self, *, now: bool) -> Generator[None]:
        """Exchange gradients at the next backward pass, or keep whole ones here until then."""
        cast("FSDPModule", self.entry).set_requires_gradient_sync(now)
        yield
        cast("FSDPModule", self.entry).set_requires_gradient_sync(True)

    def clear(self) -> None:
        """Forget all gradients."""
        for name, part in zip(self.names, self.parameters, strict=True):
            part.grad = self.every[name].grad = None

    def gradients(self) -> list[Tensor]:
        """Return this rank's part of the gradients, averaged over the ranks."""
        for name, part in zip(self.names, self.parameters, strict=True):
            gradient = self.every[name].grad
            if name in self.sharded:
                part.grad = None if gradient is None else cast("DTensor", gradient).to_local()
            elif gradient is not None:
                dist.all_reduce(gradient)
                gradient /= self.ranks.size
        return [part.grad for part in self.parameters if part.grad is not None]

    def norm(self, gradients: Sequence[Tensor]) -> Tensor:
        """Return the norm over all ranks' parts."""
        own = [gradient for gradient in gradients if gradient.ndim or self.ranks.is_main]  # what all have counts once
        square = torch.nn.utils.get_total_norm(own).square()
        dist.all_reduce(square)
        return square.sqrt()

    def stepper(self, adamw: torch.optim.AdamW, config: OptimConfig) -> None:
        """Return nobody: AdamW itself steps."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the parts."""
        return {name: _local(item).detach() for name, item in self.every.items()}

    def stored(self, name: str, part: Tensor) -> Tensor:
        """Return the part as one of a distributed tensor."""
        if name not in self.sharded:
            return part
        like = self.sharded[name]
        return DTensor.from_local(part, self.mesh, like.placements, shape=like.shape, stride=like.stride())

    def own(self, name: str, value: Tensor) -> Tensor:
        """Cut a whole value as torch cuts the parameter; a stored one is cut already."""
        if isinstance(value, DTensor) or name not in self.sharded:
            return _local(value)
        chunks, part = value.chunk(self.ranks.size), self.sharded[name].to_local()
        return chunks[self.ranks.rank] if self.ranks.rank < len(chunks) else torch.empty_like(part)

    def state(self) -> dict[str, Tensor]:
        """Return the module's ``state_dict`` as it is saved."""
        return self.module.state_dict()

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Load this rank's part of it."""
        known = self.every
        parts = {key: self.stored(key, self.own(key, item)) if key in known else item for key, item in state.items()}
        self.module.load_state_dict(parts)

    @torch.no_grad()
    def whole(self, tensors: Mapping[str, Tensor] | None = None) -> nn.Module:
        """Gather one parameter after another into a copy in the CPU memory of rank 0; it is always the same object."""
        parts = {**self.tensors(), **(tensors or {})}
        return self._copy.fill((name, self._full(name, part)) for name, part in parts.items())

    def verify(self) -> str:
        """Check that torch shards it, and that this rank really has less than all."""
        name = type(self.module).__name__
        here = sum(_local(item).numel() for item in self.sharded.values())
        full = sum(parameter.numel() for parameter in self.sharded.values())
        counts = self.ranks.gather(here)
        if not isinstance(self.entry, FSDPModule) or max(counts) >= full or sum(counts) != full:
            raise TrainingError(
                f"{name}: wanted its {full:,} parameters sharded over {self.ranks.size} processes by FSDP2, found "
                f"{counts} on them and {type(self.entry).__name__} around it."
            )
        return f"{self.ranks.size} processes share {full:,} parameters, {here:,} of them on rank 0 (FSDP2)"

    def _part(self, name: str) -> nn.Parameter:
        """Return what the optimiser steps: this rank's part as a parameter that shares its memory."""
        whole = self.every[name]
        return whole if name not in self.sharded else nn.Parameter(_local(whole).detach())

    def _full(self, name: str, part: Tensor) -> Tensor:
        return cast("DTensor", self.stored(name, part)).full_tensor() if name in self.sharded else part


def _local(tensor: Tensor) -> Tensor:
    """Return this rank's part of a tensor; of one that every rank has, all."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
