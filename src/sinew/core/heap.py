"""What the C library does with memory that tensors gave back."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
"""Names of glibc's settings, see mallopt(3)."""
KEPT, LARGEST, STEP = 1 << 30, 32 << 20, 64 << 20
"""Bytes that stay though they are free, of the largest piece among them, and by which the heap grows."""


def keep_freed_memory(environment: Mapping[str, str] | None = None) -> bool:
    """Let this process keep what it frees, up to a gigabyte, instead of asking the system for it at every update anew.

    glibc maps larger tensors one by one and unmaps them when they are freed, so that each update pays for thousands of
    pages to be found and cleared: a fifth of a small policy's training. Explicit trimming still gives all of it back.

    Args:
        environment: the process's own when None; where it speaks of glibc's settings or brings another allocator,
            nothing is changed.

    Returns:
        Whether it was set; False without glibc too.
    """
    found = os.environ if environment is None else environment
    if "GLIBC_TUNABLES" in found or "LD_PRELOAD" in found or any(name.startswith("MALLOC_") for name in found):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None:
        return False
    return all([mallopt(MMAP_THRESHOLD, LARGEST), mallopt(TRIM_THRESHOLD, KEPT), mallopt(TOP_PAD, STEP)])
