from __future__ import annotations

import pytest
import torch

from sinew.core.errors import ConfigError
from sinew.models.vlm_config import StemConfig
from sinew.models.vlm_vision import StemVision, positions_2d


def test_tokens_of_neighbouring_places_begin_nearly_at_right_angles() -> None:
    torch.manual_seed(0)
    places = positions_2d(6, 96).unflatten(0, (6, 6))
    corners = torch.stack([places[0, 0], places[1, 1], places[2, 2]])  # no row and no column in common
    likeness = torch.nn.functional.cosine_similarity(corners[:, None], corners[None], dim=-1)
    assert (likeness - torch.eye(3)).abs().max() < 0.3
    assert torch.allclose(places[0, 0] - places[0, 1], places[5, 0] - places[5, 1], atol=1e-6)


def test_what_lies_where_changes_the_token_of_that_place_most() -> None:
    torch.manual_seed(0)
    vision = StemVision(StemConfig(image=24, patch=8, width=16, layers=1, heads=2))
    images = torch.full((2, 3, 24, 24), 128, dtype=torch.uint8)
    images[1, :, 18:22, 2:6] = 255
    changed = (vision(images)[1] - vision(images)[0]).norm(dim=-1)
    assert vision.grid == (3, 3)
    assert int(changed.argmax()) == 6


def test_patches_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of 4 and divides the image"):
        StemVision(StemConfig(image=30, patch=8))
