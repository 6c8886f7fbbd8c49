"""What an optimiser asks of however the ranks share a trained module."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor, nn

from sinew.engine.distributed import world

if TYPE_CHECKING:
    import torch
    from torch.distributed.device_mesh import DeviceMesh

    from sinew.engine.config import OptimConfig


class Sharing(Protocol):
    """What an optimiser needs to know about where the weights of its module are.

    Attributes:
        module: what is trained.
        names: of the module's trained parameters.
        parameters: what the optimiser steps on this rank, in the order of the names.
        mesh: of the ranks, where torch's distributed tensors hold the parts; else None.
        parted: whether each rank holds a part of every parameter only.
    """

    module: nn.Module
    mesh: DeviceMesh | None
    parted: bool
    names: list[str]
    parameters: list[nn.Parameter]

    def stepper(self, adamw: torch.optim.AdamW, config: OptimConfig) -> Stepper | None:
        """Return what goes backward and steps in place of AdamW alone, if anything does."""
        ...

    def call(self, name: str, *arguments: Any) -> Any:  # noqa: ANN401  (whatever the method takes and returns)
        """Call a method of the module so that gradients of what it returns become those of all ranks."""
        ...

    def syncing(self, *, now: bool) -> AbstractContextManager[None]:
        """Inside, gradients are exchanged ``now``, or only added up here until a later backward pass."""
        ...

    def clear(self) -> None:
        """Forget all gradients."""
        ...

    def gradients(self) -> list[Tensor]:
        """Return this rank's gradients after the backward pass; each is also its parameter's ``grad``."""
        ...

    def norm(self, gradients: Sequence[Tensor]) -> Tensor:
        """Return the norm of the whole gradient, 0-dim, the same on every rank."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Return this rank's part of every parameter by name; sharing memory with the module."""
        ...

    def stored(self, name: str, part: Tensor) -> Tensor:
        """Return a tensor shaped as this rank's part of a parameter in the form in which checkpoints keep it."""
        ...

    def own(self, name: str, value: Tensor) -> Tensor:
        """Return this rank's part of a value of the size of a parameter, stored or whole."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Return the module's ``state_dict`` in the form in which checkpoints keep it; every rank must ask."""
        ...

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take the module's ``state_dict`` back, stored or whole."""
        ...

    def whole(self, tensors: Mapping[str, Tensor] | None = None) -> nn.Module:
        """Return the module with all its weights, in evaluation mode; every rank must ask, only rank 0 gets numbers.

        Args:
            tensors: parts to take in place of those of ``tensors()``, by name.
        """
        ...

    def verify(self) -> str:
        """Return in words how the weights lie.

        Raises:
            TrainingError: they do not lie as asked for.
        """
        ...


class Stepper(Protocol):
    """What steps in place of AdamW alone."""

    def backward(self, loss: Tensor) -> None:
        """Go backward."""
        ...

    def step(self, gradients: Sequence[Tensor], shrunk: Tensor) -> None:
        """Divide the gradients by a number and step; not finite, it says that nothing may change."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return what AdamW's would be in one process; every rank must ask."""
        ...

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take it back."""
        ...


class Entry(nn.Module):
    """Calls any method of a module through ``forward``, where the wrappers of torch and DeepSpeed listen."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, name: str, *arguments: Any) -> Any:  # noqa: ANN401
        """Return what the method of that name returns."""
        return getattr(self.module, name)(*arguments)


def require_same_weights(module: nn.Module) -> None:
    """Refuse weights that differ between ranks, before they are shared.

    Raises:
        TrainingError: with digests of both.
    """
    sums = repr([float(parameter.detach().double().sum()) for parameter in module.parameters()])
    digest = hashlib.sha256(sums.encode()).hexdigest()[:12]
    world().require_same(f"{type(module).__name__}: digest of its weights before they are sharded", digest)
