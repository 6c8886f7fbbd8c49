"""Keeps what an evaluation draws apart from what training draws."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import numpy as np


def number(stream: tuple[int, ...]) -> int:
    """Return a well-mixed 32-bit number of a tuple such as (seed, index)."""
    return int(np.random.SeedSequence(stream).generate_state(1)[0])


@contextmanager
def own_torch(stream: tuple[int, ...], *, threads: int | None = None) -> Generator[None, None, None]:
    """Within, torch draws from ``stream``; afterwards its generators and threads are as they were.

    Args:
        stream: what to seed with.
        threads: of torch within; None leaves them.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        with torch.random.fork_rng([torch.cuda.current_device()] if torch.cuda.is_initialized() else []):
            torch.manual_seed(number(stream))
            yield
    finally:
        torch.set_num_threads(before)
