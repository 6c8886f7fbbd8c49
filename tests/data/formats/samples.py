"""A small data set of each format that is only read, written by hand or by the library whose format it is."""

from __future__ import annotations

import gzip
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zarr
from numcodecs import Blosc
from PIL import Image

from data.formats.recordings import GOLDEN

ROBOT: dict[str, Any] = {"embodiment": "arm", "hz": 10, "kind": "delta", "low": "data", "high": "data"}


def robot(actions: str, states: str = "", **changes: Any) -> str:  # noqa: ANN401
    """Return a spec.json whose action and state values are named by letters, in metres."""
    names = {"state": list(states), "action": list(actions)}
    units = {"state_units": ["m"] * len(states), "action_units": ["m"] * len(actions)}
    whole = {**ROBOT, **names, **units, **changes}
    return json.dumps({name: value for name, value in whole.items() if value is not None})


def rlds(folder: Path, name: str = "arm") -> Path:
    """Return a copy of what TensorFlow Datasets 4.9.10 wrote: arm, parts or array."""
    path = shutil.copytree(GOLDEN / "rlds" / name, folder / name)
    for packed in path.glob("*.gz"):
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    (path / "spec.json").write_text(robot("ab", "xyz") if name == "arm" else robot("gabc"))
    return path


def smooth(frames: int, height: int = 16, width: int = 20, *, seed: int = 0) -> Any:  # noqa: ANN401
    """Return images (T, h, w, 3) that JPEG keeps well, different in each channel and from top to bottom."""
    ramp = np.linspace(0, 200, height * width).reshape(height, width)
    tint = np.array([40, 10, 0]) + seed
    return np.stack([ramp[..., None] + tint + tick for tick in range(frames)]).clip(0, 255).astype(np.uint8)


def robomimic(folder: Path) -> Path:
    """Write a file as robomimic's source describes it; the layout is not library-written."""
    path = folder / "demo.hdf5"
    settings = {"env_name": "Lift", "type": 1, "env_kwargs": {"robots": ["Panda"], "control_freq": 20}}
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps(settings)
        for number, frames in enumerate((4, 3, 5)):
            rng = np.random.default_rng(number)
            demo = data.create_group(f"demo_{number}")
            demo["actions"] = rng.uniform(-1, 1, (frames, 2))
            demo["rewards"] = np.arange(frames, dtype=np.float64) == frames - 1
            demo["dones"] = (np.arange(frames) == frames - 1).astype(np.int64)
            demo["states"] = np.zeros((frames, 9))
            columns = {"robot0_eef_pos": 3, "robot0_gripper_qpos": 2, "object": 5}
            values = {name: rng.normal(size=(frames + 1, size)) for name, size in columns.items()}
            values["agentview_image"] = smooth(frames + 1, seed=number)
            values["agentview_depth"] = rng.uniform(size=(frames + 1, 4, 5, 1)).astype(np.float32)
            for name, rows in values.items():
                demo[f"obs/{name}"], demo[f"next_obs/{name}"] = rows[:-1], rows[1:]
        file["mask/valid"] = np.array([b"demo_2"])
    said = robot("ab", embodiment=None, hz=None, state=None, state_units=["m"] * 5)
    path.with_suffix(".spec.json").write_text(said)
    return path


def aloha(folder: Path, *, packed: bool = False) -> Path:
    """Write files as ALOHA's source describes them, images raw or as JPEG; the layout is not library-written."""
    path = folder / "transfer"
    path.mkdir()
    for number, frames in enumerate((3, 4)):
        rng = np.random.default_rng(number)
        with h5py.File(path / f"episode_{number}.hdf5", "w") as file:
            file.attrs["sim"], file.attrs["compress"] = False, packed
            file["action"] = rng.uniform(-1, 1, (frames, 14)).astype(np.float32)
            for name in ("qpos", "qvel"):
                file[f"observations/{name}"] = rng.normal(size=(frames, 14)).astype(np.float32)
            for name in ("cam_high", "cam_left_wrist"):
                images = smooth(frames, seed=number)
                file[f"observations/images/{name}"] = jpeg_rows(images) if packed else images
    said = robot("", action=None, state=None, action_units=["rad"] * 14, state_units=["rad"] * 14)
    (path / "spec.json").write_text(said)
    return path


def jpeg_rows(images: Any) -> Any:  # noqa: ANN401
    """Return images as JPEG, (T, bytes), each row filled up with zeros."""
    rows: list[bytes] = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=95, subsampling=0)
        rows.append(file.getvalue())
    longest = max(map(len, rows))
    return np.stack([np.frombuffer(row.ljust(longest, b"\0"), np.uint8) for row in rows])


def replay_zarr(folder: Path) -> Path:
    """Write a Zarr v2 store as Diffusion Policy's source describes it; the layout is not library-written."""
    path = folder / "pusht.zarr"
    ends = np.array([3, 5, 9])
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {
        "img": smooth(9).astype(np.float32),
        "state": rng.uniform(0, 512, (9, 5)).astype(np.float32),
        "action": rng.uniform(0, 512, (9, 2)).astype(np.float32),
        "keypoint": rng.uniform(0, 512, (9, 9, 2)).astype(np.float32),
    }
    root = zarr.open_group(str(path), mode="w", zarr_format=2)
    for name, values in columns.items():
        root.create_array(f"data/{name}", data=values, chunks=(4, *values.shape[1:]), compressors=Blosc("zstd"))
    root.create_array("meta/episode_ends", data=ends, chunks=(2,))
    (path / "columns.json").write_text('{"state": ["state[0:2]"]}')
    (path / "spec.json").write_text(robot("ab", "xy", sensors={"keypoint": {"shape": [9, 2], "unit": "px", "hz": 10}}))
    return path


def image_folder(folder: Path) -> Path:
    """Write a metadata.json and images, the frames of two sequences in no order."""
    path = folder / "demos"
    (path / "images").mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for sequence, frames in (("b", 4), ("a", 3)):
        for frame, image in enumerate(smooth(frames, seed=frames)):
            name = f"{sequence}{frame}"
            Image.fromarray(image).save(path / "images" / f"{name}.jpg", quality=95, subsampling=0)
            rows.append(
                {
                    "image_id": name,
                    "instruction": f"do {sequence}",
                    "action": [frame / 10, 0.5 - frame],
                    "language_tokens": [101, 7, 102],
                    "sequence_id": sequence,
                    "timestamp": 100.0 + frame / 10,
                }
            )
    (path / "metadata.json").write_text(json.dumps([rows[number] for number in (3, 0, 6, 2, 5, 1, 4)]))
    (path / "spec.json").write_text(robot("ab"))
    return path


def bag(folder: Path, name: str = "zstd.mcap") -> Path:
    """Return a copy of what rosbags or mcap wrote, with its map of topics."""
    for file in (GOLDEN / "logs").glob(f"{Path(name).stem}.*"):
        shutil.copy(file, folder)
    return folder / name


def vd4rl(folder: Path, *, shards: bool = False) -> Path:
    """Write files of an episode each, or shards, as V-D4RL's own scripts do; the layout is not library-written."""
    path = folder / "main" / "walker_walk" / "random" / ("84px" if shards else "64px")
    path.mkdir(parents=True)
    for number, rows in enumerate((4, 5)):
        rng, ticks = np.random.default_rng(number), np.arange(rows)
        images = smooth(rows, seed=number)
        numbers = {
            "action": rng.uniform(-1, 1, (rows, 2)).astype(np.float32),
            "reward": np.arange(rows, dtype=np.float32),
            "discount": np.append(np.ones(rows - 1, np.float32), np.float32(number == 0)),
        }
        numbers["action"][0] = 9  # no action led to what is seen first
        if not shards:
            flags = {"is_first": ticks == 0, "is_last": ticks == rows - 1, "is_terminal": np.zeros(rows, bool)}
            np.savez_compressed(path / f"20220101T000000-{number}-{rows}.npz", image=images, **numbers, **flags)
            continue
        kinds = 1.0 - (ticks == 0) + (ticks == rows - 1)
        whole = numbers | {"observation": images.transpose(0, 3, 1, 2), "step_type": kinds}
        with h5py.File(path / f"shard_{number}.hdf5", "w") as file:
            for name, values in whole.items():
                file.create_dataset(name, data=np.concatenate([values, values]), compression="gzip")
    (path / "spec.json").write_text(json.dumps(ROBOT))
    return path


SAMPLES: dict[str, Callable[[Path], Path]] = {
    "rlds": rlds,
    "robomimic": robomimic,
    "aloha": aloha,
    "vd4rl": vd4rl,
    "zarr": replay_zarr,
    "images": image_folder,
    "bag": bag,
}
"""By name of the format; each writes into an empty folder and returns the data set's path, a spec.json beside it."""
