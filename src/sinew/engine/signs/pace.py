"""Signs in where the time goes: waiting for data, or computing."""

from __future__ import annotations

from collections.abc import Iterator

from sinew.engine.evidence import Evidence
from sinew.engine.findings import Finding

ROWS = 5
"""Newest rows whose median is judged; a round of collecting fills one."""
WAITS = 0.3
"""Share of the time waiting for batches from which a run is input-bound."""
IDLE = 0.1
"""Share of the time waiting for the device above which the device, not the data, sets the pace."""
SHORT = 30.0
"""Seconds of training before which nobody minds [s]."""


def input_bound(evidence: Evidence) -> Iterator[Finding]:
    """Yield one finding when the updates wait for their batches."""
    found = shares(evidence)
    elapsed = evidence["elapsed_s"]
    short = not len(elapsed) or elapsed.last < SHORT
    if found is None or short or "return" in evidence:  # a recipe that acts spends its time in its world, as it must
        return
    data, device = found
    if data > WAITS and device < IDLE:
        yield Finding(
            "input-bound",
            "",
            evidence.update,
            f"{100 * data:.0f} % of the time waits for batches, {100 * device:.0f} % for the device",
            "decoding or reading is slower than learning",
            "Keep images raw (--data.ingest.raw-gb) or smaller, put the data on a local disk, close other programs, "
            "a larger network costs nothing.",
        )


def verdict(evidence: Evidence) -> str:
    """Return in one sentence what sets the pace; "" where it was not measured."""
    found = shares(evidence)
    if found is None:
        return ""
    data, device = found
    kind = "input-bound" if data > WAITS and device < IDLE else "compute-bound"
    if "return" in evidence and kind == "input-bound":
        kind = "bound by acting in the world"
    told = f"{kind}: {100 * data:.0f} % of the time waits for batches"
    return f"{told}, {100 * device:.0f} % for the device" if device >= 0.005 else told


def shares(evidence: Evidence) -> tuple[float, float] | None:
    """Return the shares of the time that wait for data and for the device, None where they were not measured."""
    data, device = evidence["data_share"].tail(ROWS), evidence["device_share"].tail(ROWS)
    if not len(data):
        return None
    return data.median, device.median if len(device) else 0.0
