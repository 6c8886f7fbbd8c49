"""Writes the golden data sets with Minari itself, each with what Minari reads back from it in expected.npz."""

import json
import os
import shutil
import sys
from pathlib import Path

out = Path(sys.argv[1])
os.environ["MINARI_DATASETS_PATH"] = str(out.resolve())

import gymnasium as gym  # noqa: E402  (after the place is said)
import minari  # noqa: E402
import numpy as np  # noqa: E402
from minari.data_collector import EpisodeBuffer  # noqa: E402

LENGTHS = {"state": (4, 5, 6), "raw": (2, 2), "jpeg": (2, 3)}
SENTENCES = ("go left", "go right")


def picture(episode, tick):
    """A bright block that moves down a ramp whose colour tells the episode."""
    image = np.zeros((32, 40, 3), np.uint8)
    image[..., episode] = np.linspace(0, 120, 40, dtype=np.uint8)
    image[4 * tick : 4 * tick + 8, 16:24] = 60 + 30 * tick
    return image


def parts(episode, length, rng):
    """Goal, image, sentence and position, as robots in Gymnasium show them."""
    return {
        "desired_goal": rng.normal(size=(length + 1, 2)),
        "image": np.stack([picture(episode, tick) for tick in range(length + 1)]),
        "mission": [SENTENCES[episode % 2]] * (length + 1),
        "observation": rng.normal(size=(length + 1, 3)),
        "heights": rng.integers(0, 9, (length + 1, 3, 4)).astype(np.int16),
    }


SPACES = {
    "desired_goal": gym.spaces.Box(-np.inf, np.inf, (2,), np.float64),
    "heights": gym.spaces.Box(-9, 9, (3, 4), np.int16),
    "image": gym.spaces.Box(0, 255, (32, 40, 3), np.uint8),
    "mission": gym.spaces.Text(20),
    "observation": gym.spaces.Box(-np.inf, np.inf, (3,), np.float64),
}
"""Parts of an observation; ``state`` is the data set whose observations are one array."""


def buffers(name):
    rng = np.random.default_rng(0)
    for episode, length in enumerate(LENGTHS[name]):
        last = np.arange(length) == length - 1
        whole = parts(episode, length, rng)
        yield EpisodeBuffer(
            seed=episode,
            observations=whole["observation"] if name == "state" else whole,
            actions=rng.uniform(-1, 1, (length, 2)).astype(np.float32),
            rewards=list(rng.normal(size=length)),
            terminations=list(last & (episode == 1)),
            truncations=list(last & (episode != 1)),
            infos={"success": np.append(np.zeros(length, bool), episode == 1), "energy": rng.normal(size=length + 1)},
        )


def write(name):
    jpeg = name == "jpeg"
    return minari.create_dataset_from_buffers(
        f"{name}-v0",
        list(buffers(name)),
        env="CartPole-v1" if name == "state" else None,
        observation_space=SPACES["observation"] if name == "state" else gym.spaces.Dict(SPACES),
        action_space=gym.spaces.Box(-1, 1, (2,), np.float32),
        jpeg_encoding=jpeg,
    )


def main():
    for name in ("state", "raw", "jpeg"):
        shutil.rmtree(out / f"{name}-v0", ignore_errors=True)
        shutil.rmtree(out / f"minari_{name}", ignore_errors=True)
        write(name)
        root = out / f"minari_{name}"
        (out / f"{name}-v0").rename(root)
        dataset = minari.MinariDataset(root / "data")
        episodes = list(dataset.iterate_episodes())
        expected = {
            "action": np.concatenate([item.actions for item in episodes]),
            "reward": np.concatenate([item.rewards for item in episodes]),
            "terminated": np.array([item.terminations.any() for item in episodes]),
        }
        if name == "state":
            expected["observation"] = np.concatenate([item.observations for item in episodes])
        else:
            for part in ("desired_goal", "observation", "image", "heights", "mission"):
                expected[part] = np.concatenate([np.asarray(item.observations[part]) for item in episodes])
        np.savez_compressed(root / "expected.npz", **expected)
        metadata = json.loads((root / "data" / "metadata.json").read_text())
        size = sum(file.stat().st_size for file in root.rglob("*") if file.is_file())
        print(f"  {root}: minari {metadata['minari_version']}, {size / 1000:.0f} kB")
    (out / "namespace_metadata.json").unlink(missing_ok=True)


main()
