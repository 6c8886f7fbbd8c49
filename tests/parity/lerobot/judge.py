"""Opens data sets that sinew wrote with lerobot itself and compares every frame, number, sentence and statistic."""

import sys
from pathlib import Path

import numpy as np
import shim  # noqa: F401  (before torchvision)
from lerobot.datasets.compute_stats import aggregate_stats
from lerobot.datasets.lerobot_dataset import LeRobotDataset

LOSS = 4.0
"""Largest mean difference of an image in a film to the one written, of 255."""


def check_frames(dataset, expected, exact):
    worst = 0.0
    for number in range(len(dataset)):
        item = dataset[number]
        same = {
            "observation.state": expected["state"][number],
            "action": expected["action"][number].squeeze(),
            "next.success": expected["success"][number],
            "episode_index": expected["episode"][number],
            "index": number,
        }
        for name, value in same.items():
            assert np.array_equal(item[name].numpy(), value), (number, name, item[name], value)
        assert item["task"] == str(expected["task"][number]), (number, item["task"])
        for camera in ("front", "wrist"):
            image = item[f"observation.images.{camera}"].numpy() * 255
            difference = np.abs(image - expected[camera][number])
            assert (difference.max() < 1e-3) if exact else (difference.mean() < LOSS), (
                number,
                camera,
                difference.max(),
            )
            worst = max(worst, float(difference.mean()))
    return worst


def check_stats(dataset, expected):
    stats = dataset.meta.stats
    for key, column in (("observation.state", "state"), ("action", "action")):
        values = expected[column].astype(np.float64)
        for name, wanted in (
            ("mean", values.mean(0)),
            ("std", values.std(0)),
            ("min", values.min(0)),
            ("max", values.max(0)),
        ):
            assert np.allclose(stats[key][name], wanted, atol=1e-5), (key, name, stats[key][name], wanted)
    images = expected["front"].astype(np.float64) / 255
    front = stats["observation.images.front"]
    assert front["mean"].shape == (3, 1, 1)
    assert np.allclose(front["mean"].ravel(), images.mean((0, 2, 3)), atol=1e-6)
    assert np.allclose(front["std"].ravel(), images.std((0, 2, 3)), atol=1e-6)
    aggregate_stats([stats, stats])  # what lerobot does to merge data sets


def check_windows(dataset_of):
    """Windows that lerobot cuts out of our episodes end where these end."""
    dataset = dataset_of(delta_timestamps={"action": [step / 30 for step in range(4)]})
    last = int(dataset.meta.episodes[0]["dataset_to_index"]) - 1
    assert dataset[last]["action_is_pad"].tolist() == [False, True, True, True]
    assert dataset[last + 1]["action_is_pad"].tolist() == [False] * 4


def main(folder):
    for name in ("image", "video", "single"):
        expected = np.load(folder / f"{name}.npz")

        def opened(**options):
            return LeRobotDataset(f"ours/{name}", root=folder / name, **options)  # noqa: B023  (used in this turn only)

        dataset = opened()
        assert len(dataset) == len(expected["state"]) and dataset.num_episodes == 6 and dataset.fps == 30
        assert dataset.meta.robot_type == "toy" and dataset.features["observation.state"]["names"] == ["x", "y", "grip"]
        worst = check_frames(dataset, expected, exact=name != "video")
        check_stats(dataset, expected)
        check_windows(opened)
        films = len(list((folder / name).rglob("*.mp4")))
        print(f"  {name}: {len(dataset)} frames, {films} films; images differ by {worst:.2f} of 255")


main(Path(sys.argv[1]))
