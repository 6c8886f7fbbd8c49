"""What can be wrong with a data set: one record a fault, and for each kind what it means and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
"""Training refuses an error, or learns from it what is not true; a warning makes it worse; a note is to be known."""

REMEDIES: dict[str, str] = {
    "unreadable": "Restore the file from a copy, or leave the episode out: sinew data filter.",
    "crash": "Restore the file from a copy; what crashes its reader here would end a training run.",
    "hang": "Restore the file from a copy; if it is only slow, give it more time with --patience.",
    "spec": "Write what is missing into spec.json, and keep data of one robot in one data set.",
    "nan": "Leave the episode out (sinew data filter), and mend the recorder.",
    "bounds": "Correct low and high in spec.json, or clip the labels.",
    "units": "Convert the columns, or name the unit they are in (spec.json).",
    "camera": "Leave the episode out (sinew data filter), and look at the cable and the driver.",
    "frozen": "Leave the episode out (sinew data filter), and look at the sensor and its driver.",
    "jump": "Leave the episode out; where a turning joint wraps around, unwrap the angle.",
    "timestamps": "Leave the episode out, or record again at the rate that is said.",
    "duplicate": "Keep one of them: sinew data filter drops the later ones.",
    "instruction": 'Write what the episode shows, or give one sentence for all: --instruction "pick up the part".',
    "balance": "Record more of the rare task, or give it weight in the mixture (docs/mixing.md).",
    "idle": "Trim it: sinew data filter.",
    "short": "Leave it out (sinew data filter), if it is a false start.",
    "success": "Check the labels; an episode that failed is learned from like any other.",
}
"""By kind of finding, what to do about it."""


@dataclass(frozen=True)
class Finding:
    """One fault.

    Attributes:
        kind: one of ``REMEDIES``.
        severity: see ``Severity``.
        evidence: what was seen, with the numbers.
        episode: number of the episode, from 0; None where it is of the whole data set.
        frames: first and last frame, both counted; None where it is of the whole episode.
        point: it is of an instant, not of every frame in between.
    """

    kind: str
    severity: Severity
    evidence: str
    episode: int | None = None
    frames: tuple[int, int] | None = None
    point: bool = False

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return REMEDIES[self.kind]

    @property
    def place(self) -> str:
        """Episode and frames, for people."""
        if self.episode is None:
            return "whole data set"
        if self.frames is None:
            return f"episode {self.episode}"
        first, last = self.frames
        return f"episode {self.episode}, " + (f"frame {first}" if first == last else f"frames {first} to {last}")
