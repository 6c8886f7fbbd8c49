"""Chooses how the ranks share a trained module."""

from __future__ import annotations

from torch import nn

from sinew.core.errors import ConfigError
from sinew.core.launch import Launch, launched
from sinew.engine.config import Parallel, Precision
from sinew.engine.distributed import world
from sinew.engine.replicas import Whole
from sinew.engine.sharing import Sharing


def share(module: nn.Module, parallel: Parallel | None) -> Sharing:
    """Return how this module is shared: alone not at all, else as asked for, by DDP where nobody asked.

    Raises:
        ConfigError: FSDP2 is asked for and there is nobody to share with, or the launcher was told something else.
    """
    parallel = agreed(launched(), parallel)
    if parallel == "fsdp2":
        if world().alone:
            raise ConfigError(
                "--optim.parallel fsdp2: this is one process, with nobody to share the weights with. "
                "Start several: torchrun --nproc-per-node 2 -m sinew train ..."
            )
        from sinew.engine.fsdp import Shards  # torch's part of it takes most of a second to import

        return Shards(module)
    return Whole(module)


def agreed(launch: Launch, parallel: Parallel | None) -> Parallel | None:
    """Return what setting and launcher say together; nothing that a launcher was told is ignored.

    Raises:
        ConfigError: they contradict each other, or the launcher was told what is not done here.
    """
    if launch.strategy == "deepspeed":
        raise ConfigError(
            "accelerate launch was told to use DeepSpeed, which training here does not go through. What ZeRO-3 does, "
            "FSDP2 does: accelerate launch --config_file config/fsdp2.yaml -m sinew train ..."
        )
    if launch.strategy == "fsdp" and parallel == "ddp":
        raise ConfigError("accelerate launch was told to use FSDP, --optim.parallel says ddp. Leave one of them out.")
    return "fsdp2" if launch.strategy == "fsdp" else parallel


def check_precision(launch: Launch, precision: Precision | None) -> None:
    """Refuse a precision of the launcher's that is not that of the configuration.

    Raises:
        ConfigError: with both.
    """
    wanted = {"": precision, "no": "fp32"}.get(launch.precision, launch.precision)
    if (wanted or "fp32") != (precision or "fp32"):
        raise ConfigError(
            f"accelerate launch was told mixed_precision {launch.precision}, and --optim.precision is "
            f"{precision or 'fp32'}. Say the same in both: --optim.precision bf16, or mixed_precision: no."
        )
