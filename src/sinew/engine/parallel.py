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
        ConfigError: shards are asked for and there is nobody to share with, or the launcher was told something else.
    """
    parallel = agreed(launched(), parallel)
    if parallel in (None, "ddp") or world().parts > 1:  # who rehearses for several has all of it
        return Whole(module)
    if world().alone:
        raise ConfigError(
            f"--optim.parallel {parallel}: this is one process, with nobody to share the weights with. "
            "Start several: torchrun --nproc-per-node 2 -m sinew train ..."
        )
    # Imported here: torch's part takes most of a second, DeepSpeed several.
    if parallel == "fsdp2":
        from sinew.engine.fsdp import Shards

        return Shards(module)
    from sinew.engine.zero import Zero

    return Zero(module, stage=2 if parallel == "zero2" else 3)


def agreed(launch: Launch, parallel: Parallel | None) -> Parallel | None:
    """Return what setting and launcher say together; nothing that a launcher was told is ignored.

    Raises:
        ConfigError: they contradict each other, or the launcher was told what is not done here.
    """
    words: dict[str, Parallel] = {"fsdp": "fsdp2", "zero2": "zero2", "zero3": "zero3"}
    told = words.get(launch.strategy)
    if launch.strategy and told is None:
        raise ConfigError(
            f"accelerate launch was told {launch.strategy}, which training here does not do. It does ZeRO stage 2 and "
            "3 without offloading and without a deepspeed_config_file: config/deepspeed_zero3.yaml"
        )
    if told and parallel not in (None, told):
        raise ConfigError(
            f"accelerate launch was told {told}, --optim.parallel says {parallel}. Leave one of them out."
        )
    return told or parallel


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
