from __future__ import annotations

import numpy as np

from sinew.data.formats.lerobot_stats import histogram, of_histogram, of_rows


def test_statistics_of_images_are_those_of_all_their_pixels() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(10, 200, (5, 8, 6, 3), dtype=np.uint8)
    found = of_histogram(sum((histogram(image) for image in images), np.zeros((3, 256), np.int64)), len(images))
    pixels = images.reshape(-1, 3) / 255
    wanted = {"min": pixels.min(0), "max": pixels.max(0), "mean": pixels.mean(0), "std": pixels.std(0)}
    wanted |= {
        f"q{100 * q:02.0f}": np.quantile(pixels, q, axis=0, method="inverted_cdf") for q in (0.01, 0.1, 0.5, 0.9)
    }
    for name, values in wanted.items():
        np.testing.assert_allclose(np.reshape(found[name], 3), values, atol=1e-12)
    assert np.shape(found["mean"]) == (3, 1, 1)
    assert found["count"] == [5]


def test_statistics_of_numbers_are_lists_of_each() -> None:
    found = of_rows(np.array([[0.0, 1.0], [2.0, 1.0]], np.float32))
    assert found["mean"] == [1.0, 1.0]
    assert found["std"] == [1.0, 0.0]
    assert found["q50"] == [1.0, 1.0]
    assert found["count"] == [2]
