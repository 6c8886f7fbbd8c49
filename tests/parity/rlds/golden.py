"""Writes the golden data sets with TensorFlow Datasets itself, each with what it reads back in expected.npz."""

import gzip
import os
import shutil
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
import numpy as np
import tensorflow_datasets as tfds

LENGTHS = {"train": (4, 5, 6), "val": (3, 2)}
SENTENCES = ("go left", "go right")
F = tfds.features


def picture(episode, tick, size):
    """A bright block that moves down a ramp whose colour tells the episode."""
    image = np.zeros((*size, 3), np.uint8)
    image[..., episode % 3] = np.linspace(0, 120, size[1], dtype=np.uint8)
    image[tick : tick + 6, 4:12] = 60 + 30 * tick
    return image


def bool_steps(count):
    return [{"is_first": tick == 0, "is_last": tick == count - 1} for tick in range(count)]


class GoldenArm(tfds.core.GeneratorBasedBuilder):
    """The layout that most of Open X-Embodiment has: one action tensor, a sentence in every step."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        observation = F.FeaturesDict(
            {
                "image": F.Image(shape=(24, 32, 3), dtype=np.uint8, encoding_format="jpeg"),
                "wrist_image": F.Image(shape=(16, 20, 3), dtype=np.uint8, encoding_format="png"),
                "depth": F.Image(shape=(16, 20, 1), dtype=np.uint16, encoding_format="png"),
                "range": F.Tensor(shape=(5,), dtype=np.float32, encoding=F.Encoding.ZLIB),
                "metres": F.Image(shape=(6, 8, 1), dtype=np.float32),
                "state": F.Tensor(shape=(3,), dtype=np.float64),
            }
        )
        step = {
            "observation": observation,
            "action": F.Tensor(shape=(2,), dtype=np.float32),
            "reward": F.Scalar(dtype=np.float32),
            "discount": F.Scalar(dtype=np.float32),
            "is_first": F.Scalar(dtype=np.bool_),
            "is_last": F.Scalar(dtype=np.bool_),
            "is_terminal": F.Scalar(dtype=np.bool_),
            "language_instruction": F.Text(),
            "language_embedding": F.Tensor(shape=(4,), dtype=np.float32),
        }
        metadata = {"file_path": F.Text(), "success": F.Scalar(dtype=np.bool_)}
        return tfds.core.DatasetInfo(
            builder=self,
            features=F.FeaturesDict({"steps": F.Dataset(step), "episode_metadata": F.FeaturesDict(metadata)}),
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in LENGTHS}

    def _generate_examples(self, split):
        rng = np.random.default_rng(len(split))
        for episode, length in enumerate(LENGTHS[split]):
            steps = [
                {
                    "observation": {
                        "image": picture(episode, tick, (24, 32)),
                        "wrist_image": picture(episode + 1, tick, (16, 20)),
                        "depth": rng.integers(0, 65536, (16, 20, 1), dtype=np.uint16),
                        "range": rng.normal(size=5).astype(np.float32),
                        "metres": rng.uniform(0, 5, (6, 8, 1)).astype(np.float32),
                        "state": rng.normal(size=3).astype(np.float32).astype(np.float64),
                    },
                    "action": rng.uniform(-1, 1, 2).astype(np.float32),
                    "reward": float(tick == length - 1),
                    "discount": 1.0,
                    "is_terminal": tick == length - 1 and episode != 1,
                    "language_instruction": SENTENCES[episode % 2],
                    "language_embedding": np.zeros(4, np.float32),
                    **flags,
                }
                for tick, flags in enumerate(bool_steps(length))
            ]
            yield episode, {"steps": steps, "episode_metadata": {"file_path": f"{episode}", "success": episode != 1}}


class GoldenParts(tfds.core.GeneratorBasedBuilder):
    """The layout of RT-1: the action in named parts, the sentence within the observation."""

    VERSION = tfds.core.Version("0.1.0")

    def _info(self):
        step = {
            "observation": F.FeaturesDict(
                {
                    "image": F.Image(shape=(16, 20, 3), dtype=np.uint8, encoding_format="png"),
                    "natural_language_instruction": F.Text(),
                    "gripper_closed": F.Tensor(shape=(1,), dtype=np.float32),
                    "base_pose": F.Tensor(shape=(7,), dtype=np.float32),
                }
            ),
            "action": F.FeaturesDict(
                {
                    "world_vector": F.Tensor(shape=(3,), dtype=np.float32),
                    "gripper_closedness_action": F.Tensor(shape=(1,), dtype=np.float32),
                    "terminate_episode": F.Tensor(shape=(3,), dtype=np.int32),
                }
            ),
            "is_first": F.Scalar(dtype=np.bool_),
            "is_last": F.Scalar(dtype=np.bool_),
        }
        return tfds.core.DatasetInfo(builder=self, features=F.FeaturesDict({"steps": F.Dataset(step)}))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        rng = np.random.default_rng(9)
        for episode in range(2):
            steps = [
                {
                    "observation": {
                        "image": picture(episode, tick, (16, 20)),
                        "natural_language_instruction": SENTENCES[episode],
                        "gripper_closed": rng.uniform(size=1).astype(np.float32),
                        "base_pose": rng.normal(size=7).astype(np.float32),
                    },
                    "action": {
                        "world_vector": rng.uniform(-1, 1, 3).astype(np.float32),
                        "gripper_closedness_action": rng.uniform(-1, 1, 1).astype(np.float32),
                        "terminate_episode": np.array([0, 1, 0], np.int32),
                    },
                    **flags,
                }
                for tick, flags in enumerate(bool_steps(3))
            ]
            yield episode, {"steps": steps}


def flat(tree, prefix=""):
    if not isinstance(tree, dict):
        return {prefix: tree}
    return {name: leaf for key, value in tree.items() for name, leaf in flat(value, f"{prefix}{key}.").items()}


def read_back(builder, root):
    """Keep every leaf of every step as TensorFlow Datasets returns it, episodes in the order of the files."""
    splits = [builder.as_dataset(split=split, shuffle_files=False) for split in builder.info.splits]
    episodes = [episode for split in splits for episode in tfds.as_numpy(split)]
    columns, lengths = {}, []
    for episode in episodes:
        steps = [flat(step) for step in episode["steps"]]
        lengths.append(len(steps))
        metadata = flat(episode.get("episode_metadata", {}), "metadata.")
        for name, leaf in [*metadata.items(), *(item for step in steps for item in step.items())]:
            columns.setdefault(name.rstrip("."), []).append(leaf)
    text = {name: [x.decode() for x in rows] for name, rows in columns.items() if isinstance(rows[0], bytes)}
    arrays = {name: np.array(rows) for name, rows in (columns | text).items()}
    np.savez_compressed(root / "expected.npz", lengths=np.array(lengths), **arrays)


def write(out, name, kind, file_format, **config):
    place = out / name
    shutil.rmtree(place, ignore_errors=True)
    builder = kind(data_dir=out / "work", file_format=file_format)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(**config))
    shutil.move(builder.data_dir, place)
    if file_format == "tfrecord":
        read_back(tfds.builder_from_directory(place), place)
    else:
        for shard in place.glob("*.array_record*"):  # two blocks of 64 KiB, nearly all of them zeros
            shard.with_name(f"{shard.name}.gz").write_bytes(gzip.compress(shard.read_bytes(), 9, mtime=0))
            shard.unlink()
    size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    print(f"  {place}: {size / 1000:.0f} kB")


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    write(out, "arm", GoldenArm, "tfrecord", num_shards=2)
    write(out, "parts", GoldenParts, "tfrecord")
    write(out, "array", GoldenParts, "array_record")
    shutil.rmtree(out / "work", ignore_errors=True)


main(Path(sys.argv[1]))
