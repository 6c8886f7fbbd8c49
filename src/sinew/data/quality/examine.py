"""Reads every episode of a data set and says what is wrong with it; runs in a child process."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sinew.core.config import to_dict
from sinew.core.errors import DataError, SinewError
from sinew.data.config import IngestConfig
from sinew.data.dataset import Dataset, open_unmasked
from sinew.data.episode import Episode
from sinew.data.quality import motion
from sinew.data.quality.cameras import dead_cameras
from sinew.data.quality.findings import Finding
from sinew.data.quality.measures import Measures, measure


def examine(path: Path, config: IngestConfig, start: int = 0) -> Iterator[dict[str, Any]]:
    """Yield what a data set is, then findings and measures of each of its episodes, as JSON values.

    Args:
        path: a data set of a known format, or a store.
        config: what the data set does not say.
        start: number of the first episode to look at.
    """
    try:
        dataset = open_unmasked(path, config)
    except DataError as error:
        yield {"refused": str(error)}
        return
    except SinewError as error:  # a package that is not installed
        yield {"unable": str(error)}
        return
    yield {
        "format": dataset.format,
        "lengths": dataset.lengths,
        "instructions": dataset.instructions,
        "tasks": dataset.tasks,
        "problem": dataset.problem,
        "judged": dataset.judged,
        "spec": to_dict(dataset.spec),
        "unsaid": sorted(dataset.unsaid),
    }
    for number in range(start, len(dataset.lengths)):
        findings, measures = examine_one(dataset, number)
        yield {
            "episode": number,
            "findings": [dataclasses.asdict(dataclasses.replace(item, episode=number)) for item in findings],
            "measures": None if measures is None else dataclasses.asdict(measures),
        }


def examine_one(dataset: Dataset, number: int) -> tuple[list[Finding], Measures | None]:
    """Return what is wrong with one episode, and its measures where it can be read."""
    findings: list[Finding] = []
    try:
        times = dataset.times(number)
        if times is not None and len(times):
            findings += motion.time_gaps(times, dataset.spec.hz)
        episode = dataset.read(number)
    except SinewError as error:
        return [*findings, Finding("unreadable", "error", str(error))], None
    except MemoryError:
        return [*findings, Finding("unreadable", "error", "it needs more memory than is free")], None
    findings += faults(episode, unsaid=dataset.unsaid)
    if not any(item.severity == "error" for item in findings):
        try:
            episode.check()
        except DataError as error:
            return [*findings, Finding("unreadable", "error", str(error))], None
    return findings, measure(episode, (0, 0) if "kind" in dataset.unsaid else motion.idle_ends(episode))


def faults(episode: Episode, *, unsaid: frozenset[str] = frozenset()) -> list[Finding]:
    """Return what is wrong with the content of an episode.

    Args:
        episode: as it was read.
        unsaid: fields of its spec that were made up; what needs them is not looked for.
    """
    if not episode.num_frames or len(episode.action) != episode.num_frames:
        return []  # its own check tells
    found = [*motion.not_finite(episode), *dead_cameras(episode)]
    if not {"low", "high"} & unsaid:
        found += motion.out_of_bounds(episode)
    if "kind" not in unsaid:
        found += [*motion.frozen(episode), *motion.idle(episode)]
    return found
