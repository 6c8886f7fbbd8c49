"""Chooses how the ranks share a trained module."""

from __future__ import annotations

from torch import nn

from sinew.core.errors import ConfigError
from sinew.engine.config import Parallel
from sinew.engine.distributed import world
from sinew.engine.replicas import Whole
from sinew.engine.sharing import Sharing


def share(module: nn.Module, parallel: Parallel | None) -> Sharing:
    """Return how this module is shared: alone not at all, else as asked for, by DDP where nobody asked.

    Raises:
        ConfigError: FSDP2 is asked for and there is nobody to share with.
    """
    if parallel == "fsdp2":
        if world().alone:
            raise ConfigError(
                "--optim.parallel fsdp2: this is one process, with nobody to share the weights with. "
                "Start several: torchrun --nproc-per-node 2 -m sinew train ..."
            )
        from sinew.engine.fsdp import Shards  # torch's part of it takes most of a second to import

        return Shards(module)
    return Whole(module)
