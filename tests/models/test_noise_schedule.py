"""The steps of a diffusion are those of diffusers' schedulers, and the worked numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sinew.models.noise_schedule import NoiseSchedule

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "golden" / "diffusers_walks.json").read_text())
"""Written by tests/parity/diffusers/golden.py with diffusers 0.42.1."""


def said(sample: Tensor, step: int, length: int) -> Tensor:
    """Stand in for a network, as the writer of the golden file does."""
    return 1.5 * torch.sin(3.0 * sample + step / length)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['kind']}-{case['prediction']}-{case['eta']:g}")
def test_a_walk_is_that_of_diffusers(case: dict[str, Any]) -> None:
    schedule = NoiseSchedule(case["length"], case["steps"], case["prediction"])
    assert list(schedule.walk) == case["timesteps"]
    torch.testing.assert_close(schedule.alphas, torch.tensor(case["alphas"]), rtol=0, atol=1e-6)
    samples, noises = torch.tensor(case["samples"]), torch.tensor(case["noises"])
    for number, step in enumerate(schedule.walk):
        here, steps = samples[number], torch.full((2,), step)
        clean = schedule.clean(here, said(here, step, case["length"]), steps).clamp(-case["bound"], case["bound"])
        mean, std = schedule.transition(here, clean, steps, case["eta"])
        torch.testing.assert_close(mean + std * noises[number], samples[number + 1], rtol=1e-5, atol=1e-5)


def test_noise_is_added_as_in_diffusers() -> None:
    case = CASES[1]
    schedule = NoiseSchedule(case["length"], case["steps"], "epsilon")
    clean, noise = torch.linspace(-1, 1, 6).view(1, 3, 2), torch.linspace(2, -1, 6).view(1, 3, 2)
    found = schedule.blur(clean, noise, torch.tensor([case["length"] // 3]))
    torch.testing.assert_close(found, torch.tensor(case["blurred"]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "velocity"])
def test_the_right_answer_gives_the_clean_chunk_back(prediction: Any) -> None:  # noqa: ANN401  (a literal)
    schedule, step = NoiseSchedule(50, 5, prediction), torch.tensor([3, 30])
    clean, noise = torch.randn(2, 4, 3), torch.randn(2, 4, 3)
    blurred = schedule.blur(clean, noise, step)
    found = schedule.clean(blurred, schedule.target(clean, noise, step), step)
    torch.testing.assert_close(found, clean, rtol=0, atol=1e-4)


def test_the_last_step_lands_on_the_estimate() -> None:
    schedule = NoiseSchedule(50, 5, "sample")
    mean, std = schedule.transition(torch.randn(1, 2), torch.tensor([[0.3, -0.2]]), torch.tensor([9]), 1.0)
    torch.testing.assert_close(mean, torch.tensor([[0.3, -0.2]]))
    assert not std.any()
