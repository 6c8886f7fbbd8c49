"""``sinew doctor``: what this machine can run, and the line to type for what is missing."""

from __future__ import annotations

import ctypes.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sinew.core.machine import DISTRIBUTION, Machine, inspect_machine, installed_version, requirements

GIB = 2**30
CPU_TORCH = "pip install torch --index-url https://download.pytorch.org/whl/cpu"


class Finding(NamedTuple):
    """One line of the doctor's table.

    Attributes:
        what: the thing looked at.
        found: what there is.
        state: "ok", "missing" (nothing works without it) or "note" (works, could be better).
        todo: what to type or do; "" when nothing.
    """

    what: str
    found: str
    state: str
    todo: str = ""


def examine(place: Path) -> tuple[Finding, ...]:
    """Return all findings; ``place`` is where runs would be written."""
    machine = inspect_machine(place)
    return (*_hardware(machine), *_torch(machine), *_packages(machine), *_extras())


def _hardware(machine: Machine) -> Iterator[Finding]:
    version = sys.version_info
    good = (3, 11) <= version[:2] <= (3, 13)
    yield Finding("Python", machine.python, "ok" if good else "note", "" if good else "3.11, 3.12 or 3.13 are tested")
    yield Finding("system", machine.system, "ok")
    slow = machine.cores < 2
    yield Finding(
        "CPU cores", str(machine.cores), "note" if slow else "ok", "training takes twice as long" if slow else ""
    )
    yield _amount("memory free", machine.memory_free, 2, f" of {machine.memory / GIB:.1f}", "close other programs")
    yield _amount("disk free", machine.disk_free, 2, "", "free some, or train with --out on another disk")


def _amount(what: str, num_bytes: int, wanted: int, suffix: str, todo: str) -> Finding:
    """Judge bytes against the GiB that the first run wants; 0 bytes means that nobody knows."""
    if num_bytes == 0:
        return Finding(what, "unknown", "ok")
    short = num_bytes < wanted * GIB
    found = f"{num_bytes / GIB:.1f}{suffix} GiB"
    return Finding(what, found, "missing" if short else "ok", f"{wanted} GiB are wanted: {todo}" if short else "")


def _torch(machine: Machine) -> Iterator[Finding]:
    build = machine.torch_build
    if not build:
        yield Finding(
            "torch build", "none", "missing", f"without an NVIDIA GPU: {CPU_TORCH}   with one: pip install torch"
        )
    elif machine.gpus and build == "cpu":
        yield Finding("torch build", build, "note", "the GPU stays idle: pip install --force-reinstall torch")
    elif not machine.gpus and build != "cpu":
        yield Finding("torch build", build, "note", f"no GPU here; a tenth of the size: {CPU_TORCH} --force-reinstall")
    else:
        yield Finding("torch build", build, "ok")
    yield Finding("NVIDIA GPU", ", ".join(machine.gpus) or "none", "ok")


def _packages(machine: Machine) -> Iterator[Finding]:
    if not machine.packages:
        yield Finding(DISTRIBUTION, "not installed", "note", "pip install -e .   in the repository")
    for name, version in machine.packages.items():
        yield Finding(name, version or "none", "ok" if version else "missing", "" if version else f"pip install {name}")


def _extras() -> Iterator[Finding]:
    tools = requirements("dev")
    absent = [name for name in tools if not installed_version(name)]
    if tools:
        found = f"{len(tools) - len(absent)} of {len(tools)}"
        yield Finding("tools for tests", found, "note" if absent else "ok", "pip install -e '.[dev]'" if absent else "")
    if sys.platform == "linux" and ctypes.util.find_library("EGL") is None:
        yield Finding("EGL", "none", "note", "not needed; for MuJoCo's own renderer: apt-get install libegl1")
