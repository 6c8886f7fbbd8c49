"""A trained module of which every rank has all: alone, or by torch's DistributedDataParallel."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sinew.core.errors import TrainingError
from sinew.engine.config import OptimConfig
from sinew.engine.distributed import world
from sinew.engine.sharing import Entry

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


class Whole:
    """All of it here: one process alone, or the same weights on every rank by DistributedDataParallel (Li 2020)."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.mesh: DeviceMesh | None = None
        self.parted = False
        trained = {name: item for name, item in module.named_parameters() if item.requires_grad}
        self.names, self.parameters = list(trained), list(trained.values())
        self._called = False
        self.wrapper = None if world().alone else _replicated(Entry(module))

    def call(self, name: str, *arguments: Any) -> Any:  # noqa: ANN401
        """Call the method, through DDP where there are several ranks."""
        if self.wrapper is None:
            return getattr(self.module, name)(*arguments)
        self._called = True
        return self.wrapper(name, *arguments)

    @contextmanager
    def syncing(self, *, now: bool) -> Generator[None]:
        """Exchange gradients at the next backward pass, or not; the call that makes the loss belongs inside too."""
        if now or self.wrapper is None:
            yield
        else:
            with self.wrapper.no_sync():
                yield

    def clear(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def gradients(self) -> list[Tensor]:
        """Return the gradients, averaged over the ranks.

        Raises:
            TrainingError: the loss was made past ``call``, so that every rank has its own.
        """
        if self.wrapper is not None and not self._called:
            raise TrainingError(
                f"{type(self.module).__name__}: its loss was not made through Optim.call, so each of "
                f"{world().size} processes would train alone. Call optim.call(method, batch), or train in one process."
            )
        self._called = False
        return [parameter.grad for parameter in self.parameters if parameter.grad is not None]

    def norm(self, gradients: Sequence[Tensor]) -> Tensor:
        """Return their norm; as every rank has the same ones, it need not ask the others."""
        if len({gradient.device for gradient in gradients}) != 1:
            return torch.nn.utils.get_total_norm(gradients)
        return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))  # noqa: SLF001  # pyright: ignore

    def stepper(self, adamw: torch.optim.AdamW, config: OptimConfig) -> None:
        """Return nobody: AdamW itself steps."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the parameters."""
        return {name: parameter.detach() for name, parameter in self.module.named_parameters()}

    def stored(self, name: str, part: Tensor) -> Tensor:
        """Return it as it is."""
        return part

    def own(self, name: str, value: Tensor) -> Tensor:
        """Return it as it is."""
        return value

    def state(self) -> dict[str, Tensor]:
        """Return the module's ``state_dict``."""
        return self.module.state_dict()

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Load it."""
        self.module.load_state_dict(state)

    def whole(self, tensors: Mapping[str, Tensor] | None = None) -> nn.Module:
        """Return the module itself."""
        assert tensors is None, "an average of whole weights is kept as a module"
        return self.module

    def verify(self) -> str:
        """Check that torch replicates all of it."""
        ranks, name = world(), type(self.module).__name__
        count = sum(parameter.numel() for parameter in self.module.parameters())
        ranks.require_same(f"{name}: parameters", count)
        if ranks.alone:
            return f"1 process has all {count:,} parameters"
        if not isinstance(self.wrapper, nn.parallel.DistributedDataParallel):
            raise TrainingError(f"{name}: wanted DistributedDataParallel around it, found {type(self.wrapper)}.")
        return f"{ranks.size} processes have all {count:,} parameters each (DistributedDataParallel)"


def _replicated(entry: Entry) -> nn.parallel.DistributedDataParallel:
    """Wrap a module; losses that leave some parameters out are allowed, as in one process."""
    running = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    norms = any(isinstance(part, running) for part in entry.modules())
    # It warns of the small cost where no parameter is left out, and of a name that torch 2.13 made anew.
    warnings.filterwarnings("ignore", message=".*find_unused_parameters=True was specified.*")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return nn.parallel.DistributedDataParallel(
            entry, find_unused_parameters=True, broadcast_buffers=norms, gradient_as_bucket_view=True
        )
