from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from data.formats.recordings import COMPLETE, GOLDEN, change_table, cut_in_half, smooth_episode
from data.quality.healthy import healthy, put, store_of
from sinew.core.errors import DataError
from sinew.data.config import IngestConfig
from sinew.data.dataset import open_unmasked
from sinew.data.formats import WRITERS
from sinew.data.quality.examine import examine, examine_one
from sinew.data.quality.validate import Report, validate


def written(path: Path, **changes: Any) -> Path:  # noqa: ANN401
    """Write four healthy episodes as HDF5, then change datasets of some of them by name."""
    WRITERS["hdf5"].write(path, [healthy(number) for number in range(4)], storage="image")
    with h5py.File(path, "r+") as file:
        for name, value in changes.items():
            place = name.replace("__", "/")
            del file[place]
            file[place] = value
    return path


def kinds(report: Report) -> list[tuple[str, str, int | None]]:
    """Return what was found, in short."""
    return [(item.severity, item.kind, item.episode) for item in report.findings]


def test_every_bad_episode_is_told_and_those_behind_it_as_well(tmp_path: Path) -> None:
    good = healthy(1)
    path = written(
        tmp_path / "demos.hdf5",
        episode_0__robot_state=put(good.state, (7, 1), np.nan),
        episode_1__robot_state=good.state[:20],
        episode_3__images__wrist=np.zeros((40, 12, 12, 3), np.uint8),
    )
    seen: list[tuple[int, int]] = []
    report = validate(path, on_progress=lambda done, total: seen.append((done, total)))
    assert kinds(report) == [
        ("error", "nan", 0),
        ("error", "unreadable", 1),
        ("error", "camera", 3),
    ]
    assert report.qualities == (0.0, 0.0, 1.0, 0.0)
    assert report.lengths == (40, 40, 40, 40)
    assert not report.sound
    assert "columns differ in length" in report.of(1)[0].evidence
    assert seen[-1] == (4, 4)
    item = report.to_json()["findings"][0]
    assert item["place"] == "episode 0, frame 7"
    assert "sinew data filter" in item["remedy"]
    json.dumps(report.to_json())


@pytest.mark.parametrize("name", ["av1", "h264", "image"])
def test_golden_files_are_sound(name: str, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(json.dumps(COMPLETE))
    for answer in examine(GOLDEN / name, IngestConfig(spec=tmp_path / "spec.json")):
        assert answer.get("findings", []) == []
        assert answer.get("problem", "") == ""


def test_what_is_not_said_of_the_robot_is_found_and_the_rest_is_looked_at(tmp_path: Path) -> None:
    report = validate(GOLDEN / "image")
    assert kinds(report) == [("error", "spec", None), ("note", "success", None)]
    assert "state_units   their units" in report.findings[0].evidence
    assert report.qualities == (1.0, 0.5, 1.0)


def test_a_healthy_store_is_sound(tmp_path: Path) -> None:
    report = validate(store_of(tmp_path / "s", [healthy(number) for number in range(6)]))
    assert report.findings == ()
    assert report.qualities == (1.0,) * 6
    assert report.format == "store"


def delay(path: Path, seconds: float) -> Path:
    """Write a LeRobot data set in which two frames come late by what is said."""
    WRITERS["lerobot"].write(path, [smooth_episode(number) for number in range(2)], storage="image")

    def late(content: Any) -> Any:  # noqa: ANN401
        stamps = content["timestamp"].to_numpy().copy()
        stamps[3:5] += np.float32(seconds)
        place = content.schema.get_field_index("timestamp")
        return content.set_column(place, content.schema.field(place), [stamps])

    change_table(next((path / "data").rglob("*.parquet")), late)
    return path


def test_seconds_that_do_not_fit_the_rate_are_found(tmp_path: Path) -> None:
    found, measures = examine_one(open_unmasked(delay(tmp_path / "jitter", 0.03)), 0)
    assert (found, measures is not None) == ([], True)
    found, measures = examine_one(open_unmasked(delay(tmp_path / "gap", 0.06)), 0)
    assert [(item.kind, item.severity, item.frames) for item in found] == [
        ("timestamps", "warning", (3, 3)),
        ("unreadable", "error", None),
    ]
    assert measures is None
    assert "The recording lost frames" in found[1].evidence


def test_a_file_that_cannot_be_opened_is_one_finding(tmp_path: Path) -> None:
    path = written(tmp_path / "demos.hdf5")
    cut_in_half(path)
    report = validate(path)
    assert kinds(report) == [("error", "unreadable", None)]
    assert "demos.hdf5" in report.findings[0].evidence
    assert report.lengths == ()
    with pytest.raises(DataError, match="no such data set"):
        validate(tmp_path / "none")


def test_a_file_on_which_its_library_hangs_is_a_finding_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "set"
    shutil.copytree(GOLDEN / "h264", path)
    (path / "spec.json").write_text(json.dumps(COMPLETE))
    film = next((path / "videos").rglob("*.mp4"))
    os.mkfifo(film.with_name("file-001.mp4"))  # whoever opens it waits for somebody who writes

    def point_there(content: Any) -> Any:  # noqa: ANN401
        (name,) = [name for name in content.schema.names if name.startswith("videos/") and name.endswith("file_index")]
        place = content.schema.get_field_index(name)
        return content.set_column(place, content.schema.field(place), [np.array([0, 1, 0])])

    change_table(next((path / "meta" / "episodes").rglob("*.parquet")), point_there)
    report = validate(path, patience=8)
    assert kinds(report) == [("error", "hang", 1)]
    assert report.findings[0].evidence == "reading it hangs: no answer for 8 s"
    assert report.qualities == (1.0, 0.0, 1.0)
