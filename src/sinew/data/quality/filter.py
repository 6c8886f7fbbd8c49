"""Which episodes and frames are worth learning from, decided from what was found in a data set."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sinew.core.errors import ConfigError, DataError
from sinew.data.dataset import Dataset
from sinew.data.episode import Episode
from sinew.data.mask import Mask, Part, cut_episode
from sinew.data.quality.findings import REMEDIES, Finding
from sinew.data.quality.score import quality
from sinew.data.quality.validate import Report


@dataclass(frozen=True)
class FilterConfig:
    """What is left out.

    Attributes:
        drop: kinds of findings; an episode with one of them is left out, whatever its severity. Errors always are.
        quality: episodes below this are left out, 0 .. 1.
        trim: idle heads and tails are cut off.
        margin_s: seconds of standing still that are kept at each end; a policy has to learn to stop.
    """

    drop: tuple[str, ...] = ("duplicate",)
    quality: float = 0.0
    trim: bool = True
    margin_s: float = 0.3

    def check(self) -> None:
        """Refuse settings that mean nothing.

        Raises:
            ConfigError: an unknown kind, or numbers out of range.
        """
        unknown = sorted(set(self.drop) - set(REMEDIES))
        if unknown or not 0 <= self.quality <= 1 or self.margin_s < 0:
            wrong = f"drop {', '.join(unknown)}" if unknown else f"quality {self.quality:g}, margin {self.margin_s:g}"
            raise ConfigError(
                f"{wrong}: kinds are {', '.join(REMEDIES)}; quality lies in 0 .. 1, the margin is 0 s or more."
            )


def choose(report: Report, config: FilterConfig, *, hz: float) -> Mask:
    """Return what to keep of a data set.

    Args:
        report: what was found in it.
        config: what is left out.
        hz: control rate [1/s].

    Raises:
        ConfigError: an unknown kind, or numbers out of range.
        DataError: the data set cannot be opened, or nothing would be left.
    """
    config.check()
    if not report.lengths:
        raise DataError("\n".join(item.evidence for item in report.findings) or f"{report.path}: holds no episodes.")
    parts = {number: _part(report, config, number, hz) for number in range(len(report.lengths))}
    if not any(part.keep for part in parts.values()):
        counts = Counter(kind for part in parts.values() for kind in part.why)
        words = ", ".join(f"{kind} in {count}" for kind, count in counts.most_common(3))
        raise DataError(
            f"{report.path}: all {len(parts)} episodes would be left out ({words}). "
            "Mend that first: sinew data validate."
        )
    whole = {number: Part((0, length)) for number, length in enumerate(report.lengths)}
    return Mask(len(parts), {number: part for number, part in parts.items() if part != whole[number]})


def _part(report: Report, config: FilterConfig, number: int, hz: float) -> Part:
    found = report.of(number)
    kinds = tuple(dict.fromkeys(item.kind for item in found))
    score = report.qualities[number]
    keep = _trimmed(report, config, number, hz)
    if keep != (0, report.lengths[number]):  # what is cut off no longer counts against it
        others = [item for item in found if item.kind != "idle"]
        shifted = [_shifted(item, keep) for item in others]
        score = quality(shifted, keep[1] - keep[0], success=report.successes[number])
    bad = any(item.severity == "error" for item in found) or bool({*kinds} & {*config.drop})
    if bad or score < config.quality:
        return Part(None, score, kinds)
    return Part(keep, score, kinds)


def _shifted(finding: Finding, keep: tuple[int, int]) -> Finding:
    """Return a finding with its frames counted from the first one that is kept."""
    if finding.frames is None:
        return finding
    first, last = (int(np.clip(frame, keep[0], keep[1] - 1)) - keep[0] for frame in finding.frames)
    return dataclasses.replace(finding, frames=(first, last))


def _trimmed(report: Report, config: FilterConfig, number: int, hz: float) -> tuple[int, int]:
    """Return the first frame kept and the one after the last."""
    length, margin = report.lengths[number], round(config.margin_s * hz)
    found = any(item.kind == "idle" for item in report.of(number))
    head, tail = report.idle[number]
    if not (config.trim and found) or head + tail >= length:
        return 0, length
    first, last = max(0, head - margin), length - max(0, tail - margin)
    return first, last


def cleaned(dataset: Dataset, mask: Mask) -> Iterator[Episode]:
    """Yield the episodes of a data set that are kept, cut to the frames that are."""
    for number, keep in mask.kept(dataset.lengths).items():
        yield cut_episode(dataset.episode(number), keep)
