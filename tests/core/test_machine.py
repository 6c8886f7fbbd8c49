"""What is read of the machine is plausible and costs no import."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from sinew.core import machine


def test_cores_are_no_more_than_the_machine_has() -> None:
    assert 1 <= machine.num_cores() <= (os.cpu_count() or 1)


def test_free_is_no_more_than_total(tmp_path: Path) -> None:
    found = machine.inspect_machine(tmp_path / "not" / "there")
    assert 0 <= found.memory_free <= found.memory
    assert found.disk_free > 0


def test_looking_imports_no_torch() -> None:
    code = "import sys; from pathlib import Path; from sinew.core.machine import inspect_machine; "
    code += "found = inspect_machine(Path()); print(found.torch_build, 'torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert shown[-1] == "False"
    assert shown[0] in ("cpu", "cuda", "rocm")


def test_requirements_are_split_by_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["numpy>=2.0", "pyright[nodejs]==1 ; extra == 'dev'", 'av<20; python_version > "3" and extra == "film"']
    monkeypatch.setattr(metadata, "requires", lambda _: lines)
    assert machine.requirements() == ("numpy",)
    assert machine.requirements("dev") == ("pyright",)
    assert machine.requirements("film") == ("av",)


def test_a_package_that_is_not_there_has_no_version() -> None:
    assert machine.installed_version("no-such-distribution") == ""
    assert machine.installed_version("numpy")
