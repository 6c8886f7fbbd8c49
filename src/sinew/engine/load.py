"""How much of the machine a training uses: memory, and on an NVIDIA GPU its load and memory."""

from __future__ import annotations

import ctypes
import resource
import sys
from functools import cache
from pathlib import Path

import torch

GB = 1e9
DONE = 0
"""NVML's return value of a call that worked."""


class _Rates(ctypes.Structure):
    """nvmlUtilization_t: shares of the last moment in which a kernel ran, and memory was read or written [%]."""

    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


def load(device: torch.device) -> dict[str, float]:
    """Return ``memory_gb`` of this process [GB], and on CUDA ``gpu_load`` 0 .. 1 and ``gpu_memory_gb`` at its highest.

    Waits for no device.
    """
    found = {"memory_gb": resident() / GB}
    if device.type == "cuda":
        found["gpu_memory_gb"] = torch.cuda.max_memory_allocated(device) / GB
        busy = gpu_load(torch.cuda.current_device() if device == torch.device("cuda") else device.index)
        if busy is not None:
            found["gpu_load"] = busy
    return found


def resident() -> int:
    """Return the bytes of memory that this process holds; their peak where the system tells nothing else."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
    return pages * resource.getpagesize()


def gpu_load(index: int) -> float | None:
    """Return the share of the last moment in which an NVIDIA GPU computed, 0 .. 1; None where nobody knows.

    Args:
        index: of the GPU among those that torch sees.
    """
    library = _nvml()
    if library is None:
        return None
    handle, rates = ctypes.c_void_p(), _Rates()
    uuid = f"GPU-{torch.cuda.get_device_properties(index).uuid}".encode()  # CUDA_VISIBLE_DEVICES renumbers, uuids stay
    if library.nvmlDeviceGetHandleByUUID(uuid, ctypes.byref(handle)) != DONE:
        return None
    if library.nvmlDeviceGetUtilizationRates(handle, ctypes.byref(rates)) != DONE:
        return None
    return rates.gpu / 100


@cache
def _nvml() -> ctypes.CDLL | None:
    """Return the driver's library, ready to be asked; None without a driver."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    return library if library.nvmlInit_v2() == DONE else None
