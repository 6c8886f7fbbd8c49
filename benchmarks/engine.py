"""Measures the training engine: the loop, many processes, what is foretold before a run, and its diagnoses.

python benchmarks/engine.py                      everything
python benchmarks/engine.py --quick              what fits in a few minutes
python benchmarks/engine.py --only loop          rows whose group holds the word
python benchmarks/engine.py --json OUT           also write them; rows not measured now keep their old values
"""

from __future__ import annotations

from rows import drive

GROUPS = ("loop", "heap", "trainers", "kills", "distributed", "preflight", "diagnose")
"""Modules of ``engine_parts``, in the order of the table."""

if __name__ == "__main__":
    drive(__doc__, "engine_parts", GROUPS)
