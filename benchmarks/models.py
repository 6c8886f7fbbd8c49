"""Measures the models: combinations of parts, heads, stages of a vision-language model, and what a step costs.

python benchmarks/models.py                    everything
python benchmarks/models.py --quick            what fits in a few minutes
python benchmarks/models.py --only matrix      rows whose group holds the word
python benchmarks/models.py --json OUT         also write them; rows not measured now keep their old values
"""

from __future__ import annotations

from rows import drive

GROUPS: tuple[str, ...] = ("matrix", "step", "vqa", "modes", "heads", "retained", "stages")
"""Modules of ``models_parts``; each has ``rows(quick)``."""

if __name__ == "__main__":
    drive(__doc__, "models_parts", GROUPS)
