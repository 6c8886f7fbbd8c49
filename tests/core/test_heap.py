"""Memory that is freed stays with the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sinew.core.heap import keep_freed_memory

FAULTS = """
import ctypes, resource, sys
import numpy as np
from sinew.core.heap import keep_freed_memory

if not hasattr(ctypes.CDLL(None), "mallopt"):
    sys.exit(3)
if sys.argv[1] == "kept":
    assert keep_freed_memory({})

def fault():
    begun = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        arrays = [np.ones(1 << 20) for _ in range(8)]
        del arrays
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begun

fault()
print(fault())
"""


def faults(how: str) -> int:
    found = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=False)
    if found.returncode == 3:
        pytest.skip("this C library has no such settings")
    assert found.returncode == 0, found.stderr
    return int(found.stdout)


def test_arrays_that_come_again_find_their_pages_again() -> None:
    assert faults("kept") < 0.05 * faults("plain")


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD"])
def test_who_has_set_the_allocator_is_left_alone(name: str) -> None:
    assert not keep_freed_memory({name: "1"})
