"""Work for a child process that does not reach its end."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator


def work(answers: int, end: str) -> Iterator[int]:
    """Yield some numbers, then end in one of the ways a process can."""
    sys.stdout.write("a library prints something\n")
    yield from range(answers)
    if end == "crash":
        sys.stderr.write("free(): invalid pointer\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGSEGV)
    if end == "hang":
        time.sleep(60)
    if end == "raise":
        raise ValueError("nobody thought of this")
    if end == "eat":
        bytearray(1 << 45)
