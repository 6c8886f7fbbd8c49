"""A run's directory: where everything of one run lies, whose it is and how far it got."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, get_args

from sinew.core.config import to_dict
from sinew.core.errors import CheckpointError, SinewError
from sinew.core.files import read_json, write_json

Phase = Literal["collect", "train", "evaluate", "report", "done"]
PHASES: tuple[Phase, ...] = get_args(Phase)


class RunDir:
    """Paths, ownership and phase of one run; imports no torch.

    ``claim`` takes the directory for this process; the operating system gives it back when the
    process ends, however it ends. Use it in a ``with`` statement or call ``release``.

    Args:
        path: the directory; made by ``claim``.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._lock: int | None = None
        self._is_new = False

    @property
    def config(self) -> Path:
        """The configuration in full (JSON)."""
        return self.path / "config.json"

    @property
    def card(self) -> Path:
        """The run card, for people (Markdown)."""
        return self.path / "README.md"

    @property
    def checkpoints(self) -> Path:
        """Directory of checkpoints with the links ``last`` and ``best``."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """One JSON object a line, in the order of updates."""
        return self.path / "metrics.jsonl"

    @property
    def incidents(self) -> Path:
        """What happened beside learning, one JSON object a line, in the order it happened."""
        return self.path / "incidents.jsonl"

    @property
    def curves(self) -> Path:
        """Picture of the metrics."""
        return self.path / "curves.png"

    @property
    def data(self) -> Path:
        """Directory of what this run recorded, one store a name."""
        return self.path / "data"

    @property
    def videos(self) -> Path:
        """Directory of films."""
        return self.path / "videos"

    @property
    def report(self) -> Path:
        """The report as one self-contained page."""
        return self.path / "report.html"

    @property
    def nan_dump(self) -> Path:
        """Directory of what was known about non-finite updates."""
        return self.path / "nan_dump"

    @property
    def state(self) -> Path:
        """How far the run got (JSON)."""
        return self.path / "state.json"

    @property
    def lock(self) -> Path:
        """Held by the process that works here; its number stands inside."""
        return self.path / ".lock"

    def claim(self, config: Any, *, may_differ: tuple[str, ...] = ("workers",)) -> Literal["new", "resume"]:  # noqa: ANN401
        """Take the directory for this process and this configuration.

        Args:
            config: any config dataclass.
            may_differ: settings, such as workers or optim.parallel, that change no result and need not agree.

        Returns:
            "new" when the run starts, "resume" when an unfinished one goes on.

        Raises:
            CheckpointError: another process works here, the run is finished, it has another
                configuration, or the directory is not a run's.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        try:
            return self._compare(to_dict(config), may_differ)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give the directory back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def phase(self) -> Phase:
        """What the run was last known to be doing."""
        if not self.state.exists():
            return PHASES[0]
        phase = read_json(self.state).get("phase")
        if phase not in PHASES:
            raise CheckpointError(
                f"{self.state}: phase is {phase!r}, known are {', '.join(PHASES)}. Remove the file to begin again."
            )
        return phase

    def enter(self, phase: Phase) -> None:
        """Record on disk that this phase has begun."""
        write_json(self.state, {"schema_version": 1, "phase": phase})

    def __enter__(self) -> RunDir:
        """Return the directory itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the directory back; one that was new, and refused before anything was learned, is not left behind."""
        if self._is_new and isinstance(error, SinewError) and not (self.metrics.exists() or self.checkpoints.exists()):
            shutil.rmtree(self.path, ignore_errors=True)
        self.release()

    def _take_lock(self) -> None:
        """Lock the lock file; the kernel frees it when its holder dies, so no lock is ever stale."""
        import fcntl

        if self._lock is not None:
            return
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 64).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise CheckpointError(
                f"{self.path}: process {holder} is working on this run. "
                "Wait for it, stop it, or choose another directory. Processes that shall train together are started by "
                "torchrun: docs/training.md."
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._lock = descriptor

    def _compare(self, wanted: dict[str, Any], may_differ: tuple[str, ...]) -> Literal["new", "resume"]:
        if not self.config.exists():
            foreign = sorted(item.name for item in self.path.iterdir() if not item.name.startswith("."))
            if foreign:
                raise CheckpointError(
                    f"{self.path}: holds {', '.join(foreign[:3])} but no config.json, so it is not a run's directory. "
                    "Choose another one."
                )
            write_json(self.config, wanted)  # first: from here on the directory is known as a run's
            self.enter("collect")
            self._is_new = True
            return "new"
        found = read_json(self.config)
        differences = [line for line in compare(found, wanted) if not _within(line.partition(":")[0], may_differ)]
        if differences:
            lines = "\n".join(f"  {line}" for line in differences[:10])
            raise CheckpointError(
                f"{self.path}: belongs to a run with other settings (there, here):\n{lines}\n"
                "Choose another directory, or go on with --config pointing to its config.json."
            )
        if self.phase == "done":
            raise CheckpointError(
                f"{self.path}: this run is finished ({self.report}). To train again, choose another directory."
            )
        return "resume"


def compare(found: Any, wanted: Any, prefix: str = "") -> Iterator[str]:  # noqa: ANN401  (any JSON values)
    """Yield "name: found, wanted" for every leaf in which two JSON trees differ; null is as good as missing."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in {**found, **wanted}:
            name = f"{prefix}.{key}" if prefix else str(key)
            yield from compare(found.get(key), wanted.get(key), name)
    elif found != wanted:
        yield f"{prefix}: {_said(found)}, {_said(wanted)}"


def _within(name: str, places: tuple[str, ...]) -> bool:
    """Whether a setting is one of these, or in one of these parts."""
    return any(name == place or name.startswith(f"{place}.") for place in places)


def _said(value: Any) -> Any:  # noqa: ANN401  (any JSON value)
    return "not set" if value is None else value
