"""A small data set of each format that is only read, written by hand or by the library whose format it is."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data.formats.recordings import GOLDEN

ROBOT: dict[str, Any] = {"embodiment": "arm", "hz": 10, "kind": "delta", "low": "data", "high": "data"}


def robot(action: str, state: str = "", **changes: Any) -> str:  # noqa: ANN401
    """Return a spec.json whose action and state values are named by letters, in metres."""
    names = {"state": list(state), "action": list(action)}
    units = {"state_units": ["m"] * len(state), "action_units": ["m"] * len(action)}
    return json.dumps({**ROBOT, **names, **units, **changes})


def rlds(folder: Path, name: str = "arm") -> Path:
    """Return a copy of what TensorFlow Datasets 4.9.10 wrote: arm, parts or array."""
    path = shutil.copytree(GOLDEN / "rlds" / name, folder / name)
    for packed in path.glob("*.gz"):
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    (path / "spec.json").write_text(robot("ab", "xyz") if name == "arm" else robot("gabc"))
    return path


SAMPLES: dict[str, Callable[[Path], Path]] = {"rlds": rlds}
"""By name of the format; each writes into an empty folder and returns the data set's path, a spec.json beside it."""
