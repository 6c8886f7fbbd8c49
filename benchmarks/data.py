"""Measures the data: loaders, memory, formats, the recorder, damaged files, mixing and augmentation.

python benchmarks/data.py                      everything
python benchmarks/data.py --quick              what fits in a few minutes
python benchmarks/data.py --only loader        rows whose group holds the word
python benchmarks/data.py --json OUT           also write them; rows not measured now keep their old values
"""

from __future__ import annotations

from rows import drive

GROUPS = ("loader", "memory", "formats", "recorder", "fuzz", "mixing", "bodies", "augment")
"""Modules of ``data_parts``; each has ``rows(quick)``."""

if __name__ == "__main__":
    drive(__doc__, "data_parts", GROUPS)
