"""Looks a whole data set through, and puts together what was found."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sinew.core.config import from_dict
from sinew.core.errors import DataError, DependencyError
from sinew.core.types import RobotSpec
from sinew.data.config import IngestConfig
from sinew.data.formats.source import Progress
from sinew.data.quality import across
from sinew.data.quality.child import Died, answers
from sinew.data.quality.examine import examine
from sinew.data.quality.findings import Finding
from sinew.data.quality.measures import Measures
from sinew.data.quality.score import quality

PATIENCE = 120.0
"""Seconds that opening a data set, or reading one of its episodes, may take."""
MOST_DEATHS = 20
"""Crashes and hangs after which no further episode is tried."""
ORDER = ("error", "warning", "note")


@dataclass(frozen=True)
class Report:
    """What was found in a data set.

    Attributes:
        path: the data set.
        format: its format; "" where it could not be opened.
        lengths: frames by episode.
        findings: errors first, then by episode.
        qualities: by episode, see ``data/quality/score.py``.
        successes: by episode; False as well where one could not be read.
        idle: frames at start and end in which nothing moves, by episode.
        schema_version: version of this record.
    """

    path: str
    format: str
    lengths: tuple[int, ...]
    findings: tuple[Finding, ...]
    qualities: tuple[float, ...]
    successes: tuple[bool, ...]
    idle: tuple[tuple[int, int], ...]
    schema_version: int = 1

    @property
    def sound(self) -> bool:
        """There is no error."""
        return not any(item.severity == "error" for item in self.findings)

    def of(self, episode: int) -> list[Finding]:
        """Return the findings of one episode."""
        return [item for item in self.findings if item.episode == episode]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values, with places and remedies in words."""
        items = [dataclasses.asdict(item) | {"place": item.place, "remedy": item.remedy} for item in self.findings]
        return {**dataclasses.asdict(self), "sound": self.sound, "findings": items}


@dataclass
class _Notes:
    """What the child processes have said so far."""

    table: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    measures: dict[int, Measures] = field(default_factory=dict)
    next: int = 0
    deaths: int = 0

    @property
    def lengths(self) -> tuple[int, ...]:
        """Frames by episode, () before the data set was opened."""
        return tuple(self.table.get("lengths", ()))


def validate(
    path: Path,
    config: IngestConfig | None = None,
    *,
    patience: float = PATIENCE,
    on_progress: Progress | None = None,
) -> Report:
    """Return all that is found to be wrong with a data set; its mask is not looked at.

    The files are read in a child process. Where that crashes or hangs, the episode it read is at fault, and another
    child goes on behind it.

    Args:
        path: a data set of a known format, or a store.
        config: what the data set does not say.
        patience: seconds that opening it, or one episode, may take.
        on_progress: called with episodes read and in all.

    Raises:
        DataError: there is nothing at ``path``.
        DependencyError: a package that reads it is not installed.
    """
    if not path.exists():
        raise DataError(f"{path}: no such data set.")
    config = config or IngestConfig()
    notes = _Notes()
    while _ask(path, config, notes, patience, on_progress or (lambda _done, _wanted: None)):
        pass
    findings = [*notes.findings, *_of_all(notes)]
    read = notes.measures
    places = {number: index for index, number in enumerate(ORDER)}
    findings.sort(key=lambda item: (places[item.severity], -1 if item.episode is None else item.episode))
    return Report(
        path=str(path),
        format=notes.table.get("format", ""),
        lengths=notes.lengths,
        findings=tuple(findings),
        qualities=tuple(_quality(number, length, findings, read) for number, length in enumerate(notes.lengths)),
        successes=tuple(number in read and read[number].success for number in range(len(notes.lengths))),
        idle=tuple(read[number].idle if number in read else (0, 0) for number in range(len(notes.lengths))),
    )


def _ask(path: Path, config: IngestConfig, notes: _Notes, patience: float, on_progress: Progress) -> bool:
    """Let a child look at the episodes from the next one on; return whether another has to go on behind it."""
    for answer in answers(examine, path, config, notes.next, patience=patience):
        if isinstance(answer, Died):
            return _bury(answer, notes)
        if "refused" in answer:
            notes.findings.append(Finding("unreadable", "error", answer["refused"]))
            return False
        if "unable" in answer:
            raise DependencyError(answer["unable"])
        if "episode" in answer:
            _note(answer, notes)
        else:
            notes.table = answer
        on_progress(notes.next, len(notes.lengths))
    return False


def _note(answer: Mapping[str, Any], notes: _Notes) -> None:
    notes.next = answer["episode"] + 1
    notes.findings += [from_dict(Finding, item, "finding") for item in answer["findings"]]
    if answer["measures"] is not None:
        notes.measures[answer["episode"]] = from_dict(Measures, answer["measures"], "measures")


def _bury(died: Died, notes: _Notes) -> bool:
    """Note the death of a child; return whether there is more to look at behind the episode that ended it."""
    notes.deaths += 1
    kind, action = ("hang", "reading it hangs") if died.hung else ("crash", "reading it ends the process")
    if not notes.table:
        notes.findings.append(Finding(kind, "error", f"{action} when it is opened: {died.words}"))
        return False
    if notes.next >= len(notes.lengths):
        return False
    notes.findings.append(Finding(kind, "error", f"{action}: {died.words}", episode=notes.next))
    notes.next += 1
    if notes.deaths >= MOST_DEATHS:
        rest = len(notes.lengths) - notes.next
        notes.findings.append(Finding("crash", "error", f"the last {rest} episodes were not looked at any more"))
        return False
    return notes.next < len(notes.lengths)


def _of_all(notes: _Notes) -> Iterator[Finding]:
    """Yield what shows across the episodes."""
    if not notes.table:
        return
    if notes.table["problem"]:
        yield Finding("spec", "error", notes.table["problem"])
    if not notes.lengths:
        yield Finding("short", "error", "there are no episodes")
    spec = from_dict(RobotSpec, notes.table["spec"], "spec")
    if spec.cameras:  # who sees nothing is told nothing
        yield from across.sentences(notes.table["instructions"])
    yield from across.balance(notes.table["tasks"])
    if notes.table["judged"]:
        yield from across.outcomes(notes.measures)
    yield from across.across(
        spec, notes.measures, unsaid=frozenset(notes.table["unsaid"]), judged=notes.table["judged"]
    )


def _quality(number: int, frames: int, findings: list[Finding], measures: Mapping[int, Measures]) -> float:
    own = [item for item in findings if item.episode == number]
    if number not in measures:
        return 0.0
    return quality(own, frames, success=measures[number].success)
