"""Which of the processes that train together this one is, as the launcher that started it says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from sinew.core.errors import ConfigError
from sinew.core.machine import num_cores

DEEPSPEED_WORDS = ("offload_optimizer_device", "offload_param_device", "config_file")
"""Of what ``accelerate launch`` is told about DeepSpeed, that which must not be said."""


@dataclass(frozen=True)
class Launch:
    """What torchrun, ``accelerate launch`` and DeepSpeed's launcher tell each process they start.

    Attributes:
        rank: of this process, from 0; rank 0 writes and prints.
        size: processes in all.
        local_rank: rank among those of this machine.
        local_size: processes on this machine.
        restarts: how often an elastic launcher has started them again.
        strategy: how ``accelerate launch`` was told to share weights: "fsdp", "zero2" and so on, "" for no word on
            it, else in its words.
        precision: that it was told to compute in: "no", "bf16", "fp16", "fp8", or "" for no word on it.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    restarts: int = 0
    strategy: str = ""
    precision: str = ""

    @property
    def cores(self) -> int:
        """CPU cores that are this process's share of the machine's, at least 1."""
        return max(1, num_cores() // self.local_size)


def launched(environment: Mapping[str, str] | None = None) -> Launch:
    """Return who this process is; alone where no launcher said anything.

    Args:
        environment: to read from; the process's own when None.

    Raises:
        ConfigError: the launcher's words do not fit together.
    """
    found = os.environ if environment is None else environment
    strategy = _strategy(found)
    precision = found.get("ACCELERATE_MIXED_PRECISION", "")
    if "RANK" not in found and "WORLD_SIZE" not in found:
        if precision and "MASTER_ADDR" in found:
            raise ConfigError(
                "accelerate launch was told several processes and started one, as it does with MULTI_CPU or use_cpu. "
                "Use config/ddp_cpu.yaml, or torchrun --nproc-per-node 2 -m sinew train ..."
            )
        return Launch(strategy=strategy, precision=precision)
    words = {name: found.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")}
    words["LOCAL_RANK"] = words["LOCAL_RANK"] or words["RANK"]
    words["LOCAL_WORLD_SIZE"] = words["LOCAL_WORLD_SIZE"] or words["WORLD_SIZE"]
    said = ", ".join(f"{name}={value or '(not set)'}" for name, value in words.items())
    if not all(value.isdigit() for value in words.values()):
        raise ConfigError(f"{said}: numbers are wanted. Start several processes with torchrun, one without them.")
    rank, size, local_rank, local_size = (int(value) for value in words.values())
    if not (rank < size and local_rank < local_size <= size):
        raise ConfigError(f"{said}: these do not fit together. Start several processes with torchrun: docs/training.md")
    restarts = found.get("TORCHELASTIC_RESTART_COUNT", "0")
    again = int(restarts) if restarts.isdigit() else 0
    return Launch(rank, size, local_rank, local_size, again, strategy, precision)


def _strategy(found: Mapping[str, str]) -> str:
    """Return how ``accelerate launch`` was told to share weights; of DeepSpeed its stage, or all in words."""
    if _on(found.get("ACCELERATE_USE_FSDP")):
        return "fsdp"
    if not _on(found.get("ACCELERATE_USE_DEEPSPEED")):
        return ""
    words = {name: found.get(f"ACCELERATE_DEEPSPEED_{name.upper()}", "none").lower() for name in DEEPSPEED_WORDS}
    more = [f"{name} {word}" for name, word in words.items() if word not in ("none", "")]
    stage = found.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "none")
    return ", ".join([f"DeepSpeed of zero_stage {stage}", *more]) if more or stage not in ("2", "3") else f"zero{stage}"


def _on(word: str | None) -> bool:
    return (word or "").lower() in ("1", "true", "yes")
