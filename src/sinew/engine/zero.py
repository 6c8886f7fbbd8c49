"""A trained module whose moments and gradients, and in stage 3 weights, ranks share by DeepSpeed's ZeRO."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sinew.core.errors import TrainingError, require
from sinew.engine.acting import WholeCopy, blocks
from sinew.engine.config import OptimConfig
from sinew.engine.distributed import world
from sinew.engine.sharing import Entry, Stepper, require_same_weights
from sinew.engine.zero_step import ZeroStepper

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


class Zero:
    """Shares by ZeRO (Rajbhandari 2020, arXiv:1910.02054) of DeepSpeed 0.19; what is saved is ours and whole.

    Stage 2 keeps all weights on every rank and shares moments and gradients; stage 3 shares the weights too. DeepSpeed
    cannot do with parameters that are single numbers: while it has them they are vectors of one. So what acts and is
    saved is a copy, which rank 0 has.

    Args:
        module: what is trained; its weights must be the same on every rank.
        stage: 2 or 3.
    """

    def __init__(self, module: nn.Module, stage: int) -> None:
        self.module, self.stage, self.ranks = module, stage, world()
        require_same_weights(module)
        self.mesh: DeviceMesh | None = None
        self.parted = True
        self._copy = WholeCopy(module)
        self.entry = Entry(module)
        self.every = dict(module.named_parameters())
        self.shapes = {name: item.shape for name, item in self.every.items()}
        for item in self.every.values():
            if not item.ndim:
                item.data = item.data.reshape(1)
        self.names = [name for name, item in self.every.items() if item.requires_grad]
        self.parameters = [self.every[name] for name in self.names]
        self.engine: Any = None

    def stepper(self, adamw: torch.optim.AdamW, config: OptimConfig) -> Stepper:
        """Hand module and AdamW over to DeepSpeed, which from now on goes backward and steps."""
        names = {id(item): name for name, item in self.every.items()}
        order = [names[id(item)] for group in adamw.param_groups for item in group["params"]]
        groups = adamw.state_dict()["param_groups"]
        deepspeed = _deepspeed(self.parameters[0].device)
        self.engine = deepspeed.initialize(model=self.entry, optimizer=adamw, config=settings(self.stage, config))[0]
        if self.stage == 3:
            inner = blocks(self.module)
            within = {id(item) for block in inner for item in block.parameters()}
            for block in inner:
                deepspeed.utils.set_z3_leaf_module(block, True)  # noqa: FBT003
            # Methods of ours read parameters past ``forward``, where DeepSpeed does not look: what is in no block is
            # gathered for the whole of the call.
            for item in self.every.values():
                if id(item) not in within:
                    deepspeed.zero.register_external_parameter(self.entry, item)
        cut = self.own if self.stage == 3 else None
        return ZeroStepper(self.engine, adamw, groups, {name: self.every[name] for name in order}, self.shapes, cut)

    def call(self, name: str, *arguments: Any) -> Any:  # noqa: ANN401
        """Call the method with gathered weights."""
        return self.engine(name, *arguments)

    @contextmanager
    def syncing(self, *, now: bool) -> Generator[None]:
        """Exchange gradients to the end at the next backward pass, or go on adding them up."""
        self.engine.set_gradient_accumulation_boundary(now)
        yield

    def clear(self) -> None:
        """Forget all gradients.

        DeepSpeed 0.19.8 in stage 3 would count the old gradient of a weight that an update does not use; so they are
        set to 0.
        """
        self.engine.optimizer.zero_grad()
        if self.stage == 3:
            for item in self.parameters:
                partition = item.ds_tensor  # pyright: ignore[reportAttributeAccessIssue]
                item._z3_optimizer.set_local_grad_for_param(torch.zeros_like(partition), item)  # noqa: SLF001  # pyright: ignore

    def gradients(self) -> list[Tensor]:
        """Return this rank's parts of the gradients, flat, averaged over the ranks."""
        return [part for group in self.engine.optimizer.averaged_gradients.values() for part in group]

    def norm(self, gradients: Sequence[Tensor]) -> Tensor:
        """Return the norm over all ranks' parts."""
        square = torch.nn.utils.get_total_norm(gradients).square()
        dist.all_reduce(square)
        return square.sqrt()

    def tensors(self) -> dict[str, Tensor]:
        """Return this rank's part of every parameter, flat; in stage 2 all of it."""
        parts = {name: getattr(item, "ds_tensor", item) for name, item in self.every.items()}
        return {name: part.detach() for name, part in parts.items()}

    def stored(self, name: str, part: Tensor) -> Tensor:
        """Return all of a tensor on the CPU of rank 0, nothing on the others."""
        full = self._full(name, part)
        return full.cpu() if self.ranks.is_main else torch.empty(0)

    def own(self, name: str, value: Tensor) -> Tensor:
        """Cut a whole value as DeepSpeed cuts the parameter: into equal runs of its numbers, the last filled up."""
        if self.stage == 2:
            return value.reshape(self.every[name].shape)
        flat, count = value.flatten(), self.every[name].ds_tensor.numel()  # pyright: ignore
        padded = torch.cat([flat, flat.new_zeros(count * self.ranks.size - flat.numel())])
        return padded[count * self.ranks.rank : count * (self.ranks.rank + 1)]

    def state(self) -> dict[str, Tensor]:
        """Return the module's ``state_dict`` whole on rank 0."""
        state = dict(self.module.state_dict())
        return {**state, **{name: self.stored(name, part) for name, part in self.tensors().items()}}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take a whole ``state_dict`` back."""
        buffers = {name: item for name, item in state.items() if name not in self.every}
        self.module.load_state_dict(buffers, strict=False)
        for name, part in self.tensors().items():
            part.copy_(self.own(name, state[name]))
        self.engine.optimizer.refresh_fp32_params()

    @torch.no_grad()
    def whole(self, tensors: Mapping[str, Tensor] | None = None) -> nn.Module:
        """Gather one parameter after another into a copy in the CPU memory of rank 0."""
        parts = {**self.tensors(), **(tensors or {})}
        return self._copy.fill((name, self._full(name, part)) for name, part in parts.items())

    def verify(self) -> str:
        """Check that DeepSpeed shares it in this stage, and that this rank really has less than all."""
        name = type(self.module).__name__
        found = type(self.engine).__name__, self.engine.zero_optimization_stage()
        full = sum(shape.numel() for shape in self.shapes.values())
        if self.stage == 3:
            here = sum(part.numel() for part in self.tensors().values())
        else:
            here = sum(item.numel() for item in self.engine.optimizer.single_partition_of_fp32_groups)
        counts = self.ranks.gather(here)
        if found != ("DeepSpeedEngine", self.stage) or self.engine.world_size != self.ranks.size or max(counts) >= full:
            raise TrainingError(
                f"{name}: wanted its {full:,} parameters shared over {self.ranks.size} processes by ZeRO-{self.stage}, "
                f"found {counts} on them and {found[0]} of stage {found[1]} for {self.engine.world_size} around it."
            )
        shared = "share" if self.stage == 3 else "have all, and share the moments of,"
        return (
            f"{self.ranks.size} processes {shared} {full:,} parameters, {here:,} of them on rank 0 (ZeRO-{self.stage})"
        )

    def _full(self, name: str, part: Tensor) -> Tensor:
        """Return all of what has the size of a parameter, on every rank."""
        if self.stage == 2:
            return part.reshape(self.shapes[name])
        found = [torch.empty_like(part) for _ in range(self.ranks.size)]
        dist.all_gather(found, part.contiguous())
        shape = self.shapes[name]
        return torch.cat(found)[: shape.numel()].reshape(shape)


def settings(stage: int, config: OptimConfig) -> dict[str, Any]:
    """Return DeepSpeed's configuration; batches, clipping and the schedule stay ours."""
    precision = {"torch_autocast": {"enabled": True, "dtype": "bfloat16"}} if config.precision == "bf16" else {}
    # No weights stay whole for being small: ours are often, and then little would be shared.
    zero = {"stage": stage, "overlap_comm": False, "stage3_param_persistence_threshold": 0}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        **precision,
    }


def _deepspeed(device: torch.device) -> Any:  # noqa: ANN401  (a module)
    """Import it for this kind of device; it says much that concerns nobody."""
    if device.type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", r"`torch\.distributed\.\w+` is deprecated", FutureWarning)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = require("deepspeed", extra="deepspeed")
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    return found
