"""The doctor finds what is there and says what to type for what is not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sinew.cli import doctor
from sinew.core.machine import Machine, inspect_machine


def machine(**changes: object) -> Machine:
    """Return a machine with changes."""
    return dataclasses.replace(inspect_machine(Path()), **changes)


def test_this_machine_lacks_nothing_it_needs() -> None:
    findings = doctor.examine(Path())
    assert [item for item in findings if item.state == "missing"] == []
    assert {"Python", "CPU cores", "torch build"} <= {item.what for item in findings}


@pytest.mark.parametrize(
    ("build", "gpus", "state", "said"),
    [
        ("", (), "missing", "pip install torch"),
        ("cpu", ("H100",), "note", "stays idle"),
        ("cuda 12.6", (), "note", "whl/cpu"),
        ("cpu", (), "ok", ""),
    ],
)
def test_the_torch_build_is_judged_by_the_gpu(build: str, gpus: tuple[str, ...], state: str, said: str) -> None:
    finding = next(iter(doctor._torch(machine(torch_build=build, gpus=gpus))))
    assert finding.state == state
    assert said in finding.todo


def test_a_missing_package_comes_with_its_pip_line() -> None:
    found = list(doctor._packages(machine(packages={"numpy": "2.0", "mujoco": ""})))
    assert [(item.state, item.todo) for item in found] == [("ok", ""), ("missing", "pip install mujoco")]


def test_too_little_disk_is_said() -> None:
    found = {item.what: item for item in doctor._hardware(machine(disk_free=10**6))}
    assert found["disk free"].state == "missing"
    assert "--out" in found["disk free"].todo
