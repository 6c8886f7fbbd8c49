"""The video loader of lerobot itself, driven line by line by benchmarks/data_parts/loader.py; answers begin with =."""

import json
import sys
import time
from functools import lru_cache
from pathlib import Path

import numpy as np
import shim  # noqa: F401  (before torchvision)
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from torch.utils.data import DataLoader

torch.set_num_threads(1)
BATCH, FPS, HORIZON = 32, 30, 16


def picture(size, episode, tick):
    """Waves that move, with the noise of a camera."""
    rows, columns = np.mgrid[:size, :size]
    waves = [np.sin((columns + 3 * tick) / (7 + c + episode % 5)) + np.cos((rows + tick) / (9 + c)) for c in range(3)]
    noise = np.random.default_rng((episode, tick)).normal(0, 3, (size, size, 3))
    return (128 + 60 * np.stack(waves, axis=-1) + noise).clip(0, 255).astype(np.uint8)


def write(root, size, codec, episodes, length):
    features = {
        "observation.images.front": {
            "dtype": "video",
            "shape": (size, size, 3),
            "names": ["height", "width", "channels"],
        },
        "observation.state": {"dtype": "float32", "shape": (7,), "names": [f"s{n}" for n in range(7)]},
        "action": {"dtype": "float32", "shape": (7,), "names": [f"a{n}" for n in range(7)]},
    }
    dataset = LeRobotDataset.create(
        "bench/loader", FPS, features, root=root, robot_type="arm", use_videos=True, vcodec=codec
    )
    for episode in range(episodes):
        rng = np.random.default_rng(episode)
        for tick in range(length):
            dataset.add_frame(
                {
                    "observation.images.front": picture(size, episode, tick),
                    "observation.state": rng.normal(size=7).astype(np.float32),
                    "action": rng.uniform(-1, 1, 7).astype(np.float32),
                    "task": "go on",
                }
            )
        dataset.save_episode()
    dataset.finalize()


@lru_cache(maxsize=4)
def dataset_of(root):
    chunk = {"action": [step / FPS for step in range(HORIZON)]}
    return LeRobotDataset("bench/loader", root=Path(root), delta_timestamps=chunk)


def batches_of(root, frames):
    return DataLoader(dataset_of(root), batch_sampler=frames, num_workers=0)


def timed(root, frames):
    start = time.process_time()
    count = sum(len(batch["action"]) for batch in batches_of(root, frames))
    return [count, time.process_time() - start]


def show(root, frames, out):
    batch = next(iter(batches_of(root, frames)))
    np.savez(
        out,
        image=batch["observation.images.front"].numpy(),
        state=batch["observation.state"].numpy(),
        action=batch["action"].numpy(),
        is_pad=batch["action_is_pad"].numpy(),
    )


for line in sys.stdin:
    words = json.loads(line)
    answer = {"write": write, "timed": timed, "show": show}[words.pop("do")](**words)
    print("=" + json.dumps(answer), flush=True)
