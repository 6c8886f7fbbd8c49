"""Preprocessing: what transformers' own image processors do, read from the files that they write."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import hub_models
from sinew.core.errors import CheckpointError
from sinew.models.pixels import Pixels, Preprocess, read_pixels
from sinew.models.pretrained import transformers_class


@pytest.mark.parametrize("mode", [2, 3])
def test_resizing_is_that_of_the_image_processor_to_one_level(mode: int, tmp_path: Path) -> None:
    processor = transformers_class("siglip.image_processing_pil_siglip", "SiglipImageProcessorPil")(
        size={"height": 8, "width": 8}, resample=mode, image_mean=[0.1, 0.2, 0.3], image_std=[0.5, 0.25, 0.2]
    )
    processor.save_pretrained(tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (3, 21, 30), dtype=np.uint8)
    theirs = torch.as_tensor(np.asarray(processor(image.transpose(1, 2, 0))["pixel_values"]))
    preprocess = Preprocess(read_pixels(tmp_path))
    ours = preprocess(torch.as_tensor(image)[None])
    levels = (ours - theirs).abs() / preprocess.scale
    assert float(levels.max()) <= 1.001
    assert float((levels > 0.5).float().mean()) < 0.2


def test_what_is_said_survives_the_file(tmp_path: Path) -> None:
    pixels = Pixels((8, 8), (0.1, 0.2, 0.3), (0.5, 0.25, 0.2), "bilinear")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(pixels.to_dict()))
    assert read_pixels(tmp_path) == pixels


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (hub_models.pixels({"shortest_edge": 30}, do_center_crop=True, crop_size={"height": 24, "width": 24}), 24),
        (hub_models.pixels({"shortest_edge": 30}, do_center_crop=True, crop_size=20), 20),
        (hub_models.pixels({"shortest_edge": 30}), 30),
    ],
)
def test_sizes_are_read_in_every_way_they_are_written(content: dict[str, object], size: int, tmp_path: Path) -> None:
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": content}))
    assert read_pixels(tmp_path).size == (size, size)


def test_no_statistic_is_guessed(tmp_path: Path) -> None:
    content = hub_models.pixels()
    del content["image_mean"]
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="says nothing of image_mean"):
        read_pixels(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(hub_models.pixels(resample=1)))
    with pytest.raises(CheckpointError, match="resample 1, this sinew knows"):
        read_pixels(tmp_path)


def test_without_normalisation_pixels_are_shares(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(hub_models.pixels(do_normalize=False)))
    image = torch.full((1, 3, 16, 16), 51, dtype=torch.uint8)
    torch.testing.assert_close(Preprocess(read_pixels(tmp_path))(image), torch.full((1, 3, 16, 16), 0.2))
