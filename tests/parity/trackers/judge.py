"""Tracks a run that was interrupted, with every tracker at once, and reads it back with each package.

What a killed session tracked after its last checkpoint is tracked again. TensorBoard is told that the first is
void; the others keep both, and the later one counts.
"""

from __future__ import annotations

import sqlite3
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from sinew.engine.findings import Finding
from sinew.engine.trackers import TRACKERS, Tracked, Tracking

FINDING = Finding("overfitting", "", 30, "held-out 0.2", "few recordings", "record more")
CONFIG = {"name": "x", "optim": {"lr": 0.1, "clip": None}, "tasks": ["a", "b"]}
TRUE = {10: 1.0, 20: 0.5, 30: 0.25, 40: 0.125}


def write(path: Path) -> None:
    """Track updates 10 to 30 of which 30 is lost, then 30 and 40 in another session, a picture and a finding."""
    Image.new("RGB", (2, 3)).save(path / "curves.png")
    for first, losses in ((0, {10: 1.0, 20: 0.5, 30: 9.0}), (20, {30: 0.25, 40: 0.125})):
        notes: list[str] = []
        tracking = Tracking(tuple(TRACKERS), Tracked(path, CONFIG, first), note=notes.append)
        for update, loss in losses.items():
            tracking.show({"update": update, "loss": loss, "grad_rms/head": 2.0, "broken": float("nan"), "empty": None})
        tracking.show(FINDING.row(max(losses)))
        tracking.picture(max(losses), "curves", path / "curves.png")
        tracking.close()
        assert notes == [], notes


def judge_tensorboard(path: Path) -> str:
    """EventAccumulator: what the first session wrote after update 20 is gone."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(path / "tensorboard"))
    events.Reload()
    found = {event.step: event.value for event in events.Scalars("loss")}
    assert found == TRUE, found
    assert events.Tags()["scalars"] == ["loss", "grad_rms/head"], events.Tags()
    image = events.Images("curves")[-1]
    assert (image.width, image.height) == (2, 3)
    assert image.encoded_image_string == (path / "curves.png").read_bytes()
    texts = {tag: events.Tensors(tag)[-1].tensor_proto.string_val[0].decode() for tag in events.Tags()["tensors"]}
    assert "overfitting" in texts["findings"], texts
    assert "| `optim.lr` | 0.1 |" in texts["config"], texts
    return f"{len(found)} losses, a picture, {len(texts)} texts"


def judge_wandb(path: Path) -> str:
    """The files that ``wandb sync`` would upload, by wandb's own records."""
    from wandb.proto import wandb_internal_pb2 as records

    losses: dict[int, float] = {}
    for file in sorted((path / "wandb").glob("offline-run-*/*.wandb")):
        for data in framed(file.read_bytes()[7:]):
            record = records.Record()
            record.ParseFromString(data)
            items = {(item.key or ".".join(item.nested_key)): item.value_json for item in record.history.item}
            if "loss" in items:
                losses[record.history.step.num] = float(items["loss"])
    assert losses == TRUE, losses
    return f"{len(losses)} losses offline"


def framed(content: bytes) -> Iterator[bytes]:
    """Yield the records of a LevelDB log that had a file header of 7 bytes: blocks of 32 KiB, records in parts."""
    place, kept = 0, b""
    while place + 7 <= len(content):
        left = 32768 - (place + 7) % 32768
        size, kind = struct.unpack_from("<HB", content, place + 4)
        if left < 7 or kind == 0:
            place += left
            continue
        kept += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield kept
            kept = b""


def judge_trackio(path: Path) -> str:
    """Its own reader of the local data."""
    from trackio.sqlite_storage import SQLiteStorage

    rows = SQLiteStorage.get_logs("sinew", path.name)
    losses = {row["step"]: row["loss"] for row in rows if "loss" in row}
    assert losses == TRUE, rows
    return f"{len(losses)} losses in {len(rows)} rows"


def judge_mlflow(path: Path) -> str:
    """A client of the SQLite file."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{path.parent / 'mlflow.db'}")
    (experiment,) = [item for item in client.search_experiments() if item.name == "sinew"]
    (run,) = client.search_runs([experiment.experiment_id])
    losses = {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, "loss")}
    assert losses == TRUE, losses
    assert run.data.params["optim.lr"] == "0.1", run.data.params
    assert run.info.status == "FINISHED"
    files = [file.path for file in client.list_artifacts(run.info.run_id)]
    assert "curves.png" in files, files
    with sqlite3.connect(path.parent / "mlflow.db") as base:
        assert base.execute("select count(*) from runs").fetchone() == (1,)
    return f"{len(losses)} losses, {len(run.data.params)} settings, files {', '.join(files)}"


def main() -> None:
    """Write, read back, say what was found."""
    path = Path(sys.argv[1]).absolute() / "tabletop-1234"
    path.mkdir(parents=True)
    write(path)
    for judge in (judge_tensorboard, judge_wandb, judge_trackio, judge_mlflow):
        print(f"{judge.__name__.removeprefix('judge_')}: {judge(path)}", flush=True)


if __name__ == "__main__":
    main()
