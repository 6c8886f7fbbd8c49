"""Measures how a checkpoint goes on: own recordings, RL, export, server, shield, robot loop, and playing with it.

python benchmarks/goes_on.py                      everything; hours, but finished cells are found on disk
python benchmarks/goes_on.py --quick              what fits in a few minutes; learning only where it is on disk
python benchmarks/goes_on.py --only shield        rows whose group holds the word
python benchmarks/goes_on.py --json OUT           also write them; rows not measured now keep their old values

Learning cells lie under ``runs/goes_on``.
"""

from __future__ import annotations

from rows import drive

GROUPS = ("own_data", "labels", "grpo", "onnx", "serve", "shield", "robot_loop", "play")
"""Modules of ``goes_on_parts``; each has ``rows(quick)``."""

if __name__ == "__main__":
    drive(__doc__, "goes_on_parts", GROUPS)
