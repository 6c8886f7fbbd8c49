from __future__ import annotations

from pathlib import Path

import pytest

from data.formats.recordings import GOLDEN, smooth_episode
from data.formats.samples import SAMPLES
from sinew.core.config import from_dict
from sinew.core.types import RobotSpec
from sinew.data.config import IngestConfig
from sinew.data.formats import WRITERS
from sinew.data.quality.across import across
from sinew.data.quality.examine import examine
from sinew.data.quality.findings import Finding
from sinew.data.quality.measures import Measures

SETS = ["av1", "h264", "image", "minari_jpeg", "minari_raw", "minari_state", "v21_av1", "v21_image"]


def found(path: Path) -> list[Finding]:
    """Return what is found in a data set, what is not said of its robot and plain notes aside."""
    first, *rest = examine(path, IngestConfig())
    measures = {item["episode"]: from_dict(Measures, item["measures"], "measures") for item in rest}
    findings = [from_dict(Finding, entry, "finding") for item in rest for entry in item["findings"]]
    spec = from_dict(RobotSpec, first["spec"], "spec")
    findings += across(spec, measures, unsaid=frozenset(first["unsaid"]), judged=first["judged"])
    assert len(rest) == len(first["lengths"]) > 0
    return [item for item in findings if item.severity != "note"]


@pytest.mark.parametrize("name", SETS)
def test_nothing_is_found_in_what_other_libraries_wrote(name: str) -> None:
    assert found(GOLDEN / name) == []


@pytest.mark.parametrize("name", SAMPLES)
def test_nothing_is_found_in_a_sample_of_each_format(name: str, tmp_path: Path) -> None:
    kinds = {item.kind for item in found(SAMPLES[name](tmp_path))}
    assert kinds <= {"units"}  # all their random numbers are said to be metres


@pytest.mark.parametrize("name", [name for name, kind in WRITERS.items() if "image" in kind.storages])
def test_nothing_is_found_in_what_we_write(name: str, tmp_path: Path) -> None:
    WRITERS[name].write(tmp_path / "set", [smooth_episode(number) for number in range(3)], storage="image")
    assert found(tmp_path / "set") == []


def test_what_cannot_be_opened_is_said_in_one_answer(tmp_path: Path) -> None:
    (tmp_path / "demos.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n and no more")
    (answer,) = examine(tmp_path / "demos.hdf5", IngestConfig())
    assert list(answer) == ["refused"]
    assert "demos.hdf5" in answer["refused"]


def test_a_later_child_begins_behind_the_episode_that_ended_the_first() -> None:
    first, *rest = examine(GOLDEN / "image", IngestConfig(), 2)
    assert len(first["lengths"]) == 3
    assert [item["episode"] for item in rest] == [2]
