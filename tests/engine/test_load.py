"""What this process uses, and that a machine without a GPU says nothing of one."""

from __future__ import annotations

import numpy as np
import torch

from sinew.engine.load import load, resident


def test_memory_grows_with_what_is_held() -> None:
    before = resident()
    held = np.ones(40_000_000)
    assert resident() - before > 0.9 * held.nbytes
    assert load(torch.device("cpu"))["memory_gb"] > held.nbytes / 1e9


def test_without_a_gpu_nothing_is_said_of_one() -> None:
    assert list(load(torch.device("cpu"))) == ["memory_gb"]
