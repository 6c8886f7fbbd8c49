"""Which device a name means."""

from __future__ import annotations

import torch

from sinew.core.errors import ConfigError


def pick_device(name: str) -> torch.device:
    """Return the device that a name means; "auto" takes CUDA, then MPS, then the CPU.

    Raises:
        ConfigError: there is no such device here.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if available[kind]))
    if not available.get(name.split(":")[0], False):
        there = ", ".join(kind for kind, there in available.items() if there)
        raise ConfigError(f"--device {name}: not on this machine, which has: {there}. Try --device auto.")
    return torch.device(name)
