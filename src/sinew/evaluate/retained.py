"""How much of what a model could answer it still can after it learned something else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sinew.core.errors import DataError
from sinew.core.files import write_json
from sinew.evaluate.answers import CAPTION, Exam, Mark, kept_in

VERSION = 1
CLEAR = 0.1
"""How far above chance a kind must have been answered before, for a share of it to mean anything."""


@dataclass(frozen=True)
class Kept:
    """Questions of one kind and group, before and after.

    Attributes:
        kind: what they ask for. group: how hard the images are.
        chance: share that who says the most frequent answer gets right; 0 for captions.
        before: share right then. after: share right now, of the same n questions.
        n: how many.
    """

    kind: str
    group: str
    chance: float
    before: float
    after: float
    n: int

    @property
    def share(self) -> float | None:
        """What is left of what was above chance, 1 being all; None where that was next to nothing."""
        gained = self.before - self.chance
        return (self.after - self.chance) / gained if gained >= CLEAR else None


@dataclass(frozen=True)
class Retention:
    """One exam sat twice.

    Attributes:
        before: marks then. chance: by kind and group. after: marks now; empty until it was sat again.
    """

    before: tuple[Mark, ...]
    chance: tuple[tuple[str, str, float], ...]
    after: tuple[Mark, ...] = ()

    @property
    def kept(self) -> tuple[Kept, ...]:
        """Every kind and group that was asked both times, in the order of the exam."""
        now = {(mark.kind, mark.group): mark for mark in self.after}
        luck = {(kind, group): share for kind, group, share in self.chance}
        return tuple(
            Kept(mark.kind, mark.group, luck.get(key, 0.0), mark.rate, now[key].rate, mark.n)
            for mark in self.before
            if (key := (mark.kind, mark.group)) in now
        )

    def total(self, groups: Sequence[str] | None = None) -> Kept:
        """Return all questions together, captions left out.

        Args:
            groups: that count; None means all.

        Raises:
            DataError: none was asked twice.
        """
        rows = [row for row in self.kept if row.kind != CAPTION and (groups is None or row.group in groups)]
        count = sum(row.n for row in rows)
        if not count:
            raise DataError("no question was asked before and after. Sit the same exam twice.")
        chance, before, after = (
            sum(row.n * getattr(row, name) for row in rows) / count for name in ("chance", "before", "after")
        )
        return Kept("all questions", "all", chance, before, after, count)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(path, {"schema_version": VERSION, **asdict(self)})

    @classmethod
    def load(cls, path: Path) -> Retention:
        """Read what ``save`` wrote.

        Raises:
            DataError: another version, or damaged.
        """
        with kept_in(path, VERSION) as content:
            before, after = (tuple(Mark(**row) for row in content[name]) for name in ("before", "after"))
            chance = tuple((str(kind), str(group), float(share)) for kind, group, share in content["chance"])
            return cls(before, chance, after)


def chances(exam: Exam) -> tuple[tuple[str, str, float], ...]:
    """Return for every kind and group of questions the share that the most frequent answer gets right."""
    answers: dict[tuple[str, str], Counter[str]] = {}
    for ask in exam.asks:
        answers.setdefault((ask.kind, ask.group), Counter())[ask.answer] += 1
    return tuple((*key, found.most_common(1)[0][1] / found.total()) for key, found in answers.items())


def table(found: Retention) -> list[tuple[str, ...]]:
    """Return rows of text, the first one their heads and the last one the total."""
    rows: list[tuple[str, ...]] = [("asked for", "scene", "n", "chance", "before", "after", "kept")]
    for row in (*found.kept, found.total()):
        share = "" if row.share is None else f"{100 * row.share:.0f} %"
        numbers = (f"{value:.3f}" for value in (row.chance, row.before, row.after))
        rows.append((row.kind, row.group, str(row.n), *numbers, share))
    return rows
