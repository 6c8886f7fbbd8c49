"""One recording of a small robot, written by the libraries rosbags and mcap in every container that is read.

``python tests/data/formats/bags.py DIR`` writes the golden files again.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

STEP = 10_000_000
"""Nanoseconds from one message of the joints to the next."""
BEGIN = 1_700_000_000 * 10**9
TICKS = 30
"""Messages of the joints in an episode."""
PAUSE = 2 * 10**9
"""From the end of one episode to the begin of the next."""
GOLDEN = Path(__file__).parent / "golden" / "logs"
KEPT = ("ros1_lz4.bag", "ros1_bz2.bag", "ros2_sqlite", "ros2_mcap", "zstd.mcap")
"""Those of which a copy is committed, written by rosbags 0.11.9 and mcap 1.6.0."""
NAMES = (*KEPT, "ros1_none.bag", "lz4.mcap", "plain.mcap")
TOPICS: dict[str, Any] = {
    "hz": 20,
    "cameras": {"front": "/cam/image_raw", "wrist": "/wrist/compressed"},
    "state": [{"topic": "/joint_states", "fields": ["position"], "names": ["b", "a"]}],
    "action": [{"topic": "/cmd", "fields": ["data"]}],
    "sensors": {
        "depth": {"topic": "/depth", "unit": "mm"},
        "imu": {"topic": "/imu", "unit": "1", "fields": ["angular_velocity", "linear_acceleration"]},
        "cloud": {"topic": "/points", "unit": "m", "fields": ["x", "z"], "points": 4},
    },
    "instruction": "/instruction",
    "success": "/success",
    "split": {"topic": "/episode", "begin": "start", "end": "stop"},
    "stale_s": 0.2,
}
SPEC = {
    "embodiment": "arm", "kind": "absolute", "state_units": ["rad", "rad"], "action": ["u", "v"],
    "action_units": ["rad", "rad"], "low": "data", "high": "data",
}  # fmt: skip


def picture(stamp: int) -> Any:  # noqa: ANN401
    """Return the picture (8, 10, 3) that is taken at a time."""
    return np.random.default_rng(stamp).integers(0, 256, (8, 10, 3), dtype=np.uint8)


def depth(stamp: int) -> Any:  # noqa: ANN401
    """Return the depth (4, 5) uint16 that is taken at a time."""
    return np.random.default_rng(stamp).integers(0, 9000, (4, 5), dtype=np.uint16)


def cloud(stamp: int) -> Any:  # noqa: ANN401
    """Return the points (2 to 4, 3) that are seen at a time."""
    rng = np.random.default_rng(stamp)
    return rng.normal(size=(rng.integers(2, 5), 3)).astype(np.float32)


def joints(stamp: int) -> Any:  # noqa: ANN401
    """Return positions of joints a and b at a time."""
    seconds = (stamp - BEGIN) / 1e9
    return np.array([np.sin(seconds), seconds])


def command(stamp: int) -> Any:  # noqa: ANN401
    """Return the command sent at a time."""
    return joints(stamp) + 0.25


def imu(stamp: int) -> Any:  # noqa: ANN401
    """Return rates and accelerations, (6,)."""
    return np.random.default_rng(stamp).normal(size=6)


def events() -> Iterator[tuple[str, int, str, Any]]:
    """Yield topic, stamp, type and content in the order of time."""
    for episode in range(2):
        start = BEGIN + episode * (PAUSE + TICKS * STEP)
        yield "/instruction", start, "std_msgs/msg/String", f"press button {episode}"
        yield "/episode", start + 1000, "std_msgs/msg/String", "start"
        for number in range(TICKS):
            now = start + number * STEP + 2000
            yield "/joint_states", now, "sensor_msgs/msg/JointState", joints(now)
            yield "/imu", now + 1, "sensor_msgs/msg/Imu", imu(now + 1)
            if number % 2 == 0:
                yield "/cmd", now + 2, "std_msgs/msg/Float64MultiArray", command(now + 2)
            if number % 6 == 1:
                yield "/cam/image_raw", now + 3, "sensor_msgs/msg/Image", picture(now + 3)
                yield "/wrist/compressed", now + 4, "sensor_msgs/msg/CompressedImage", picture(now + 4)
                yield "/depth", now + 5, "sensor_msgs/msg/Image", depth(now + 5)
                yield "/points", now + 6, "sensor_msgs/msg/PointCloud2", cloud(now + 6)
        end = start + TICKS * STEP
        yield "/success", end, "std_msgs/msg/Bool", episode == 0
        yield "/episode", end + 1000, "std_msgs/msg/String", "stop"


def message(store: Any, stamp: int, kind: str, value: Any) -> Any:  # noqa: ANN401
    """Return a message of rosbags."""
    make = store.types
    time = make["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9)
    head = {"stamp": time, "frame_id": "ü"}
    if "seq" in make["std_msgs/msg/Header"].__dataclass_fields__:
        head["seq"] = 7
    header = make["std_msgs/msg/Header"](**head)
    name = kind.rpartition("/")[2]
    return globals()[f"_{name.lower()}"](make, header, value)


def _string(make: Any, _header: Any, value: str) -> Any:  # noqa: ANN401
    return make["std_msgs/msg/String"](data=value)


def _bool(make: Any, _header: Any, value: bool) -> Any:  # noqa: ANN401
    return make["std_msgs/msg/Bool"](data=value)


def _jointstate(make: Any, header: Any, value: Any) -> Any:  # noqa: ANN401
    empty = np.zeros(0)
    return make["sensor_msgs/msg/JointState"](
        header=header, name=["a", "b"], position=value, velocity=empty, effort=np.ones(2)
    )


def _float64multiarray(make: Any, _header: Any, value: Any) -> Any:  # noqa: ANN401
    row = make["std_msgs/msg/MultiArrayDimension"](label="n", size=2, stride=2)
    layout = make["std_msgs/msg/MultiArrayLayout"](dim=[row], data_offset=0)
    return make["std_msgs/msg/Float64MultiArray"](layout=layout, data=value)


def _imu(make: Any, header: Any, value: Any) -> Any:  # noqa: ANN401
    turn = make["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0)
    one, two = (make["geometry_msgs/msg/Vector3"](*map(float, part)) for part in (value[:3], value[3:]))
    nine = np.zeros(9)
    return make["sensor_msgs/msg/Imu"](
        header=header, orientation=turn, orientation_covariance=nine, angular_velocity=one,
        angular_velocity_covariance=nine, linear_acceleration=two, linear_acceleration_covariance=nine,
    )  # fmt: skip


def _image(make: Any, header: Any, value: Any) -> Any:  # noqa: ANN401
    height, width = value.shape[:2]
    colour = value.ndim == 3
    pad = np.zeros((height, 3), np.uint8)  # rows may be longer than their pixels
    rows = np.concatenate(
        [(value[..., ::-1] if colour else value).copy().view(np.uint8).reshape(height, -1), pad], axis=1
    )
    return make["sensor_msgs/msg/Image"](
        header=header, height=height, width=width, encoding="bgr8" if colour else "16UC1", is_bigendian=0,
        step=rows.shape[1], data=rows.ravel(),
    )  # fmt: skip


def _compressedimage(make: Any, header: Any, value: Any) -> Any:  # noqa: ANN401
    file = io.BytesIO()
    Image.fromarray(value).save(file, "PNG")
    data = np.frombuffer(file.getvalue(), np.uint8)
    return make["sensor_msgs/msg/CompressedImage"](header=header, format="rgb8; png compressed bgr8", data=data)


def _pointcloud2(make: Any, header: Any, value: Any) -> Any:  # noqa: ANN401
    field = make["sensor_msgs/msg/PointField"]
    rows = np.zeros((len(value), 20), np.uint8)
    fields = []
    for number, name in enumerate("xyz"):
        rows[:, 4 * number : 4 * number + 4] = value[:, number : number + 1].view(np.uint8)
        fields.append(field(name=name, offset=4 * number, datatype=7, count=1))
    return make["sensor_msgs/msg/PointCloud2"](
        header=header, height=1, width=len(value), fields=fields, is_bigendian=False, point_step=20,
        row_step=20 * len(value), data=rows.ravel(), is_dense=True,
    )  # fmt: skip


def contents(log: Any) -> list[tuple[str, int, bytes]]:  # noqa: ANN401
    """Return topic, stamp and bytes of all messages, sorted."""
    wanted = {topic: np.arange(len(log.stamps(topic))) for topic in log.channels}
    return sorted((topic, int(log.stamps(topic)[number]), content) for topic, number, content in log.read(wanted))


def write(path: Path) -> Path:
    """Write the recording in the container that the name asks for, with its maps beside it; return the path."""
    if path.name.startswith("ros1"):
        _write_ros1(path)
    elif path.name.startswith("ros2"):
        _write_ros2(path)
    else:
        _write_mcap(path)
    place = path / "topics.json" if path.is_dir() else path.with_suffix(".topics.json")
    place.write_text(json.dumps(TOPICS))
    place.with_name(place.name.replace("topics.json", "spec.json")).write_text(json.dumps(SPEC))
    return path


def _write_ros1(path: Path) -> None:
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC)
    writer = Writer(path)
    method = path.stem.partition("_")[2]
    if method != "none":
        writer.set_compression(Writer.CompressionFormat[method.upper()])
    writer.chunk_threshold = 4000
    with writer:
        known: dict[str, Any] = {}
        for topic, stamp, kind, value in events():
            known.setdefault(topic, None)
            if known[topic] is None:
                known[topic] = writer.add_connection(topic, kind, typestore=store)
            writer.write(known[topic], stamp, store.serialize_ros1(message(store, stamp, kind, value), kind))


def _write_ros2(path: Path) -> None:
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    plugin = StoragePlugin.MCAP if path.name.endswith("mcap") else StoragePlugin.SQLITE3
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        known: dict[str, Any] = {}
        for topic, stamp, kind, value in events():
            if topic not in known:
                known[topic] = writer.add_connection(topic, kind, typestore=store)
            writer.write(known[topic], stamp, store.serialize_cdr(message(store, stamp, kind, value), kind))


def _write_mcap(path: Path) -> None:
    from mcap.writer import CompressionType, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    packed = {"zstd": CompressionType.ZSTD, "lz4": CompressionType.LZ4}.get(path.stem, CompressionType.NONE)
    chunked = path.stem != "plain"
    with path.open("wb") as file:
        writer = Writer(file, chunk_size=4000, compression=packed, use_chunking=chunked, use_summary_offsets=chunked)
        writer.start(profile="ros2")
        known: dict[str, int] = {}
        for number, (topic, stamp, kind, value) in enumerate(events()):
            if topic not in known:
                text = store.generate_msgdef(kind, ros_version=2)[0].encode()
                schema = writer.register_schema(kind, "ros2msg", text)
                known[topic] = writer.register_channel(topic, "cdr", schema)
            content = bytes(store.serialize_cdr(message(store, stamp, kind, value), kind))
            writer.add_message(known[topic], stamp, content, stamp, number)
        writer.finish()


if __name__ == "__main__":
    for name in KEPT:
        write(Path(sys.argv[1]) / name)
