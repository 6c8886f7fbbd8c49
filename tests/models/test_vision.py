"""Where the vision parts look."""

from __future__ import annotations

import torch

from sinew.models.vision import SoftArgmax, image_grid, to_float


def test_soft_argmax_finds_the_peak() -> None:
    features = torch.zeros(1, 1, 5, 5)
    features[0, 0, 1, 4] = 50.0
    assert torch.allclose(SoftArgmax(1)(features), torch.tensor([[3.0, -1.5]]), atol=1e-4)


def test_image_grid_runs_right_and_down() -> None:
    grid = image_grid(torch.zeros(1, 1, 2, 3))
    assert grid.tolist() == [[-3, -3], [0, -3], [3, -3], [-3, 3], [0, 3], [3, 3]]


def test_pixels_become_minus_one_to_one() -> None:
    assert to_float(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]
