"""Labels in space and in the image."""

from __future__ import annotations

import torch

from sinew.core.types import CameraSpec
from sinew.models.grounding import Projection, heat

DOWN = (1.0, 0.0, 0.0, 0.1, 0.0, -1.0, 0.0, 0.2, 0.0, 0.0, -1.0, 2.0, 0.0, 0.0, 0.0, 1.0)
"""A camera 2 m above (0.1, 0.2), looking straight down; its x is the robot's x, its y the robot's -y."""


def test_projection_of_a_camera_that_looks_down() -> None:
    camera = Projection(CameraSpec(100, 200, (100.0, 100.0, 100.0, 50.0), DOWN))
    seen = camera(torch.tensor([[0.1, 0.2, 0.0], [0.5, 0.2, 0.0], [0.1, 0.6, 1.0]]))
    assert torch.allclose(seen, torch.tensor([[0.5, 0.5], [0.6, 0.5], [0.5, 0.1]]))


def test_two_coordinates_lie_on_the_ground() -> None:
    camera = Projection(CameraSpec(100, 200, (100.0, 100.0, 100.0, 50.0), DOWN))
    assert torch.equal(camera(torch.tensor([[0.3, 0.1]])), camera(torch.tensor([[0.3, 0.1, 0.0]])))


def test_heat_has_its_mean_at_the_place() -> None:
    labels = heat(torch.tensor([[0.3, 0.6]]), 5, 10)
    assert torch.allclose(labels.sum(), torch.tensor(1.0))
    grid = labels.view(5, 10)
    assert torch.allclose((grid.sum(0) * torch.arange(10)).sum(), torch.tensor(0.3 * 10 - 0.5))
    assert torch.allclose((grid.sum(1) * torch.arange(5)).sum(), torch.tensor(0.6 * 5 - 0.5))


def test_heat_outside_the_image_is_at_its_edge() -> None:
    assert heat(torch.tensor([[-3.0, 9.0]]), 3, 3).argmax().item() == 6
