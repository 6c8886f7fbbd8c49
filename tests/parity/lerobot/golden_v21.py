"""Writes the golden v2.1 data sets with lerobot 0.3.3, each with what lerobot reads back from it in expected.npz."""

import shutil
import sys
from pathlib import Path

import numpy as np
import shim  # noqa: F401  (before torchvision)
from lerobot.datasets.lerobot_dataset import CODEBASE_VERSION, LeRobotDataset

SIZE = (64, 80)
LENGTHS = (4, 5, 6)
SENTENCES = ("go left", "go right")


def features(kind):
    """A camera, a depth image as numbers, and what reinforcement learning adds."""
    return {
        "observation.images.front": {"dtype": kind, "shape": (*SIZE, 3), "names": ["height", "width", "channels"]},
        "observation.state": {"dtype": "float32", "shape": (3,), "names": ["x", "y", "grip"]},
        "observation.depth": {"dtype": "uint16", "shape": (4, 5), "names": ["height", "width"]},
        "action": {"dtype": "float32", "shape": (2,), "names": {"motors": ["dx", "dy"]}},
        "next.reward": {"dtype": "float32", "shape": (1,), "names": None},
    }


def picture(episode, tick):
    """A bright block that moves down a ramp whose colour tells the episode."""
    image = np.zeros((*SIZE, 3), np.uint8)
    image[..., episode] = np.linspace(0, 120, SIZE[1], dtype=np.uint8)
    image[8 * tick : 8 * tick + 16, 16:40] = 60 + 30 * tick
    return image


def write(root, kind):
    dataset = LeRobotDataset.create(
        f"golden/{root.name}", 10, features(kind), root=root, robot_type="so100", use_videos=kind == "video"
    )
    rng = np.random.default_rng(0)
    for episode, length in enumerate(LENGTHS):
        for tick in range(length):
            frame = {
                "observation.images.front": picture(episode, tick),
                "observation.state": rng.normal(size=3).astype(np.float32),
                "observation.depth": (1000 * episode + 20 * tick + np.arange(20)).reshape(4, 5).astype(np.uint16),
                "action": rng.uniform(-1, 1, 2).astype(np.float32),
                "next.reward": np.array([tick / 8], np.float32),
            }
            dataset.add_frame(frame, task=SENTENCES[episode % 2])
        dataset.save_episode()


def read_back(root):
    dataset = LeRobotDataset(f"golden/{root.name}", root=root)
    items = [dataset[number] for number in range(len(dataset))]
    names = ("observation.state", "observation.depth", "action", "next.reward")
    columns = {name.rpartition(".")[2]: np.stack([np.asarray(item[name]) for item in items]) for name in names}
    images = np.stack([(item["observation.images.front"].numpy() * 255).round().astype(np.uint8) for item in items])
    episode = np.array([int(item["episode_index"]) for item in items])
    task = np.array([item["task"] for item in items])
    np.savez_compressed(root / "expected.npz", images=images, episode=episode, task=task, **columns)


def main(out):
    for name, kind in {"v21_image": "image", "v21_av1": "video"}.items():
        root = out / name
        shutil.rmtree(root, ignore_errors=True)
        write(root, kind)
        shutil.rmtree(root / "images", ignore_errors=True)
        read_back(root)
        size = sum(file.stat().st_size for file in root.rglob("*") if file.is_file())
        print(f"  {root}: {CODEBASE_VERSION}, {size / 1000:.0f} kB")


main(Path(sys.argv[1]))
