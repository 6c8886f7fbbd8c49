"""The state of every global random generator, so that a run can go on where it stood."""

from __future__ import annotations

import random
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def mix(*numbers: int) -> int:
    """Return a 63-bit seed made of several numbers, such as (seed, update): near inputs give unrelated seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seed_all(seed: int) -> None:
    """Seed Python, NumPy and torch on every device."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  (other people's code draws from it)
    torch.manual_seed(seed)


def seed_draws(seed: int, device: torch.device) -> None:
    """Seed what modules on this device draw, each update anew.

    ``torch.manual_seed`` would do, but without a GPU it puts a note for one aside at each call, 0.3 ms long.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def capture() -> dict[str, Any]:
    """Return the state of every global generator as a tree of tensors and plain values."""
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():  # of several ranks on a machine each looks at its own GPU only
        alone = not torch.distributed.is_initialized()
        state["cuda"] = torch.cuda.get_rng_state_all() if alone else [torch.cuda.get_rng_state()]
    return state


def restore(state: Mapping[str, Any]) -> None:
    """Set every global generator back; a state captured on another number of GPUs leaves those alone."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if "cuda" not in state or not torch.cuda.is_available():
        return
    if torch.distributed.is_initialized() and len(state["cuda"]) == 1:
        torch.cuda.set_rng_state(state["cuda"][0])
    elif len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


@contextmanager
def kept() -> Generator[None]:
    """Leave every global generator afterwards as it was before."""
    state = capture()
    try:
        yield
    finally:
        restore(state)
