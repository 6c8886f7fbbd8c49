"""Units in and out."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from sinew.core.errors import DataError
from sinew.core.types import Statistics
from sinew.models.normalizer import Normalizer


def statistics(mean: list[float], std: list[float]) -> Statistics:
    """Return statistics with these moments."""
    zero = np.zeros(len(mean), dtype=np.float32)
    return Statistics(np.float32(mean), np.float32(std), zero, zero, zero, zero, 5)


def test_there_and_back_is_exact_to_rounding() -> None:
    norm = Normalizer({"state": 2})
    norm.fit({"state": statistics([1.0, -2.0], [0.5, 4.0])})
    values = torch.tensor([[1.5, 2.0]])
    assert norm.to_unit("state", values).tolist() == [[1.0, 1.0]]
    assert torch.allclose(norm.to_physical("state", norm.to_unit("state", values)), values)


def test_a_value_that_never_varies_is_floored_and_said(caplog: pytest.LogCaptureFixture) -> None:
    norm = Normalizer({"state": 2})
    with caplog.at_level(logging.WARNING):
        norm.fit({"state": statistics([1.0, 5.0], [0.5, 1e-7])})
    assert norm.to_unit("state", torch.tensor([1.0, 5.1]))[1].item() == pytest.approx(0.1, abs=1e-5)
    assert "[1]" in caplog.text


def test_fixed_values_stay_physical() -> None:
    norm = Normalizer({"action": 2})
    norm.fit({"action": statistics([1.0, 0.3], [0.5, 0.4])}, fixed={"action": (False, True)})
    assert norm.to_unit("action", torch.tensor([1.0, 1.0])).tolist() == [0.0, 1.0]


def test_nothing_is_normalised_before_statistics_are_known() -> None:
    assert Normalizer({"state": 1}).to_unit("state", torch.zeros(1)).isnan().all()


def test_statistics_of_another_size_are_refused() -> None:
    with pytest.raises(DataError, match="wanted 2 values"):
        Normalizer({"state": 2}).fit({"state": statistics([0.0], [1.0])})


def test_a_robot_without_state_is_normalised() -> None:
    normalizer = Normalizer({"state": 0})
    nothing = np.zeros(0, np.float32)
    normalizer.fit({"state": Statistics(nothing, nothing, nothing, nothing, nothing, nothing, 5)})
    assert normalizer.to_unit("state", torch.zeros(2, 0)).shape == (2, 0)
