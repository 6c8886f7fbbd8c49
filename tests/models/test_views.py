"""Cameras of several sizes in one policy: each seen whole, through a store, training, files and the loop."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import matrix
from sinew.core.types import CameraSpec, NumpyObservation, RobotSpec
from sinew.data.store import Store
from sinew.data.windows import Windows
from sinew.models.encoder_config import SiglipConfig
from sinew.models.encoders import build_vision
from sinew.models.policy import VLAPolicy
from sinew.models.views import Views
from toy import ToyConfig
from toy_data import random_episode
from toy_policy import tiny_policy

SIZES = {"wrist": (12, 12), "front": (16, 20)}
SPEC: RobotSpec = dataclasses.replace(
    ToyConfig().spec, cameras={name: CameraSpec(height, width) for name, (height, width) in SIZES.items()}
)
PLAIN = {part: names[0] for part, names in matrix.PARTS.items()}
WAYS: tuple[dict[str, str], ...] = (
    {"vision": "film", "fusion": matrix.NONE},
    {"vision": "tokens", "fusion": "transformer"},
    {"vision": "siglip", "fusion": "concat"},
    {"vision": "resnet", "fusion": "cells"},
    {"vision": "resnet", "fusion": "keypoints"},
)


def policy_of(way: dict[str, str]) -> VLAPolicy:
    """Return a tiny policy of these parts for the robot with two cameras."""
    config = matrix.config_of({**PLAIN, **way})
    changes: dict[str, Any] = {name: getattr(config, name) for name in ("vision", "fusion", "grounding", "width")}
    return tiny_policy("mlp", spec=SPEC, history=1, **changes)


def store_of(path: Path) -> Store:
    """Return a store of two short episodes of that robot."""
    random = np.random.default_rng(0)
    store = Store.create(path, SPEC, ("goal",))
    for number in range(2):
        images = {name: random.integers(0, 256, (4, 3, *size), dtype=np.uint8) for name, size in SIZES.items()}
        action = np.zeros((4, 2), dtype=np.float32)
        goal = {"goal": random.normal(size=(4, 1)).astype(np.float32)}
        episode = random_episode(number, 4, spec=SPEC, images=images, action=action, executed=action, targets=goal)
        store.append([episode])
    return store


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(way.values()))
def test_cameras_of_two_sizes_are_learned_from_kept_and_acted_on(way: dict[str, str], tmp_path: Path) -> None:
    policy = policy_of(way)
    windows = Windows([store_of(tmp_path / "store")], history=1, horizon=3)
    batch = windows.gather(np.arange(5)).map(torch.as_tensor)
    losses = policy.train().losses(batch)
    sum(loss.sum() for loss in losses.values()).backward()  # type: ignore[union-attr]
    assert all(value.grad is not None for value in policy.parameters() if value.requires_grad)
    (tmp_path / "policy").mkdir()
    policy.eval().save_pretrained(tmp_path / "policy")
    seen: NumpyObservation = windows.gather(np.arange(3)).obs
    again = VLAPolicy.from_pretrained(tmp_path / "policy")
    chunk = policy.predict_action_chunk(seen)
    np.testing.assert_array_equal(again.predict_action_chunk(seen), chunk)
    for name, images in seen.images.items():
        other = dataclasses.replace(seen, images={**seen.images, name: 255 - images})
        assert not np.allclose(policy.predict_action_chunk(other), chunk), f"{name} is not looked at"
    assert policy.to("meta").losses(batch.map(lambda array: array.to("meta")))["action"].shape == (5,)


def test_the_small_one_is_resized_to_the_large_one_and_that_is_left_alone() -> None:
    views = Views(SPEC, build_vision(matrix.tiny(matrix.VISION["film"]), 8, (16, 20), None))
    random = torch.Generator().manual_seed(0)
    images = {
        name: torch.randint(0, 256, (2, 3, 3, *size), dtype=torch.uint8, generator=random)
        for name, size in SIZES.items()
    }
    stacked = views(images)
    assert stacked.shape == (2, 6, 3, 16, 20)
    assert torch.equal(stacked[:, 3:], images["front"].float())
    plain = functional.interpolate(images["wrist"].flatten(0, 1).float(), (16, 20), mode="bilinear", antialias=True)
    torch.testing.assert_close(stacked[:, :3].flatten(0, 1), plain, rtol=0, atol=1e-3)


def test_a_pretrained_encoder_gets_each_camera_at_its_own_size_and_in_its_own_way() -> None:
    vision = build_vision(matrix.tiny(SiglipConfig), 8, (16, 20), None)
    image = torch.randint(0, 256, (1, 1, 3, 16, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    stacked = Views(SPEC, vision)({"wrist": image[..., :12, :12], "front": image})
    assert stacked.shape == (1, 2, 3, 8, 8)
    plain = functional.interpolate(image[0].float(), (8, 8), mode="bicubic", antialias=True).clamp(0, 255)
    torch.testing.assert_close(stacked[0, 1:], plain, rtol=0, atol=1e-3)


def test_cameras_of_one_size_are_stacked_as_they_are() -> None:
    spec = dataclasses.replace(SPEC, cameras={name: CameraSpec(6, 6) for name in SIZES})
    views = Views(spec, build_vision(matrix.tiny(SiglipConfig), 8, (6, 6), None))
    images = {name: torch.randint(0, 256, (1, 1, 3, 6, 6), dtype=torch.uint8) for name in SIZES}
    assert torch.equal(views(images), torch.cat(list(images.values()), dim=1))
    assert not list(views.buffers())
