"""How good an episode is, from what was found in it.

    quality = 0                                 with an error, or as a copy of an earlier episode
    quality = (1 - f) * 0.5^n * (0.5 if it failed)        otherwise

f is the share of frames that a finding says are of no use (idle, a dead camera, a frozen value), n the number
of other warnings of the episode (leaps, gaps in time, too short). A mixture may weigh episodes by it, and
``sinew data filter --quality`` drops those below a bound.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sinew.data.quality.findings import Finding


def quality(findings: Sequence[Finding], frames: int, *, success: bool = True) -> float:
    """Return the quality of an episode, 0 .. 1.

    Args:
        findings: those of the episode.
        frames: T.
        success: the instruction was fulfilled.
    """
    if any(item.severity == "error" or item.kind == "duplicate" for item in findings):
        return 0.0
    useless = np.zeros(max(frames, 1), bool)
    others = 0
    for item in findings:
        if item.severity == "warning" and (item.frames is None or item.point):
            others += 1
        elif item.severity == "warning" and item.frames is not None:
            useless[item.frames[0] : item.frames[1] + 1] = True
    return float((1 - useless.mean()) * 0.5**others * (1.0 if success else 0.5))
