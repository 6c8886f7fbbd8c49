"""Writes the golden data sets with lerobot itself, each with what lerobot reads back from it in expected.npz."""

import shutil
import sys
from pathlib import Path

import numpy as np
import shim  # noqa: F401  (before torchvision)
from lerobot.datasets.lerobot_dataset import LeRobotDataset

SIZE = (64, 80)
LENGTHS = (4, 5, 6)
SENTENCES = ("go left", "go right")
CODECS = {"image": None, "h264": "h264", "av1": "libsvtav1"}


def features(kind):
    """Names in a list and in lists by group, a single number and one that sinew does not read."""
    return {
        "observation.images.front": {"dtype": kind, "shape": (*SIZE, 3), "names": ["height", "width", "channels"]},
        "observation.state": {"dtype": "float32", "shape": (3,), "names": ["x", "y", "grip"]},
        "observation.environment_state": {"dtype": "float32", "shape": (2,), "names": None},
        "action": {"dtype": "float32", "shape": (2,), "names": {"motors": ["dx", "dy"]}},
        "next.success": {"dtype": "bool", "shape": (1,), "names": None},
    }


def picture(episode, tick):
    """A bright block that moves down a ramp whose colour tells the episode."""
    image = np.zeros((*SIZE, 3), np.uint8)
    image[..., episode] = np.linspace(0, 120, SIZE[1], dtype=np.uint8)
    image[8 * tick : 8 * tick + 16, 16:40] = 60 + 30 * tick
    return image


def write(root, codec):
    kind = "image" if codec is None else "video"
    options = {} if codec is None else {"vcodec": codec}
    dataset = LeRobotDataset.create(
        f"golden/{root.name}", 10, features(kind), root=root, robot_type="so100", use_videos=kind == "video", **options
    )
    rng = np.random.default_rng(0)
    for episode, length in enumerate(LENGTHS):
        for tick in range(length):
            dataset.add_frame(
                {
                    "observation.images.front": picture(episode, tick),
                    "observation.state": rng.normal(size=3).astype(np.float32),
                    "observation.environment_state": np.zeros(2, np.float32),
                    "action": rng.uniform(-1, 1, 2).astype(np.float32),
                    "next.success": np.array([episode != 1 and tick == length - 1]),
                    "task": SENTENCES[episode % 2],
                }
            )
        dataset.save_episode()
    dataset.finalize()


def read_back(root):
    dataset = LeRobotDataset(f"golden/{root.name}", root=root)
    items = [dataset[number] for number in range(len(dataset))]
    columns = {name: np.stack([item[name].numpy() for item in items]) for name in ("observation.state", "action")}
    images = np.stack([(item["observation.images.front"].numpy() * 255).round().astype(np.uint8) for item in items])
    episode = np.array([int(item["episode_index"]) for item in items])
    np.savez_compressed(
        root / "expected.npz",
        images=images,
        state=columns["observation.state"],
        action=columns["action"],
        episode=episode,
        task=np.array([item["task"] for item in items]),
    )


def main(out):
    for name, codec in CODECS.items():
        root = out / name
        shutil.rmtree(root, ignore_errors=True)
        write(root, codec)
        shutil.rmtree(root / "images", ignore_errors=True)
        read_back(root)
        print(f"  {root}: {sum(file.stat().st_size for file in root.rglob('*') if file.is_file()) / 1000:.0f} kB")


main(Path(sys.argv[1]))
