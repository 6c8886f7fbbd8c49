"""What this machine has: cores, memory, disk, accelerators and installed packages; imports none of them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import multiprocessing
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

DISTRIBUTION = "sinew-vla"


@dataclass(frozen=True)
class Machine:
    """A description for run cards and for ``sinew doctor``.

    Attributes:
        python: version of the interpreter.
        system: operating system and processor architecture.
        cores: CPU cores this process may use, container limits included.
        memory: bytes of memory this process may use, container limits included; 0 when unknown.
        memory_free: bytes of it that are free; 0 when unknown.
        disk_free: bytes free where runs are written.
        gpus: names of the NVIDIA GPUs.
        torch_build: "cpu", "cuda 12.6", "rocm 6.3", or "" without torch.
        packages: version by distribution name of what we require; "" where it is not installed.
    """

    python: str
    system: str
    cores: int
    memory: int
    memory_free: int
    disk_free: int
    gpus: tuple[str, ...]
    torch_build: str
    packages: dict[str, str]


def inspect_machine(place: Path) -> Machine:
    """Return what this machine has; ``place`` is where runs would be written and need not exist."""
    memory, memory_free = _memory()
    return Machine(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        cores=num_cores(),
        memory=memory,
        memory_free=memory_free,
        disk_free=_disk_free(place),
        gpus=_gpus(),
        torch_build=_torch_build(),
        packages={name: installed_version(name) for name in requirements()},
    )


def free_memory() -> int:
    """Return the bytes of memory that this process may still take, container limits included; 0 when unknown."""
    return _memory()[1]


def free_disk(place: Path) -> int:
    """Return the bytes free where ``place`` is or would be."""
    return _disk_free(place)


def process_bytes(what: str = "VmRSS") -> int:
    """Return the memory that this process holds, or with "VmHWM" the most it ever held [bytes]; 0 when unknown."""
    match = re.search(rf"^{what}:\s+(\d+) kB", _read("/proc/self/status"), re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def cpu_seconds() -> float:
    """Return the CPU time of this process, of its finished children and of those that still work [s]."""
    times = os.times()
    finished = times.user + times.system + times.children_user + times.children_system
    return finished + sum(_cpu_of(child.pid) for child in multiprocessing.active_children())


def _cpu_of(process: int | None) -> float:
    """Return the CPU time of another process, 0 where the system does not tell [s]."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def power_limits() -> tuple[float, ...]:
    """Return the power limit of each NVIDIA GPU [W]; () where there is none or none that tells."""
    lines = _ask_gpus("power.limit", "--format=csv,noheader,nounits")
    return tuple(float(line) for line in lines if re.fullmatch(r"[0-9.]+", line))


def num_cores() -> int:
    """Return the CPU cores this process may use: its affinity, and no more than the container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdigit() and period.strip().isdigit():
        cores = min(cores, max(1, round(int(quota) / int(period))))
    return cores


def requirements(extra: str = "") -> tuple[str, ...]:
    """Return the names of the distributions that we, or one of our extras, require."""
    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return ()
    wanted = [
        line for line in lines if (f"extra == '{extra}'" in line.replace('"', "'") if extra else "extra ==" not in line)
    ]
    return tuple(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in wanted)


def installed_version(distribution: str) -> str:
    """Return the installed version, or "" where there is none."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _memory() -> tuple[int, int]:
    """Return total and free bytes."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = os.sysconf("SC_PHYS_PAGES") * page
    match = re.search(r"MemAvailable:\s+(\d+) kB", _read("/proc/meminfo"))
    free = int(match[1]) * 1024 if match else 0
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    if limit.isdigit():
        used = _read("/sys/fs/cgroup/memory.current").strip()
        files = re.findall(r"^(?:in)?active_file (\d+)$", _read("/sys/fs/cgroup/memory.stat"), re.MULTILINE)
        total = min(total, int(limit))
        free = min(free, max(0, int(limit) - int(used or 0) + sum(map(int, files))))  # cached files give way
    return total, free


def _disk_free(place: Path) -> int:
    place = place.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _torch_build() -> str:
    """Read which build of torch is installed from its version file, since importing torch takes seconds."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return ""
    content = _read(str(Path(spec.origin).parent / "version.py"))
    for key, name in (("cuda", "cuda"), ("hip", "rocm")):
        match = re.search(rf"^{key}\b[^=]*=\s*'([^']+)'", content, re.MULTILINE)
        if match:
            return f"{name} {match[1]}"
    return "cpu"


def _gpus() -> tuple[str, ...]:
    return _ask_gpus("name,memory.total", "--format=csv,noheader")


def _ask_gpus(what: str, shape: str) -> tuple[str, ...]:
    """Return a line for each NVIDIA GPU; () where there is none."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return ()
    query = [command, f"--query-gpu={what}", shape]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in answer.stdout.splitlines() if line.strip())


def _read(path: str) -> str:
    """Return a file's text, or "" where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
