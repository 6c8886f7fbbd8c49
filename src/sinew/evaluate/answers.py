"""Questions about images with one right answer each: asked, marked, and counted by kind with intervals."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.core.files import read_json, write_json, write_text
from sinew.evaluate.intervals import wilson

VERSION = 1
CAPTION = "caption"
Answerer = Callable[[NDArray[np.uint8], Sequence[str]], Sequence[str]]
"""Answers questions (B) about images (B, 3, h, w)."""
Score = Callable[[str, str], float]
"""Returns how much (0 to 1) of a caption somebody's description gets right."""


@dataclass(frozen=True)
class Ask:
    """One question.

    Attributes:
        kind: what it asks for. group: how hard the image is; answers are counted by both.
        image: number of its image. text: as asked. answer: the right one.
    """

    kind: str
    group: str
    image: int
    text: str
    answer: str


@dataclass(frozen=True)
class Exam:
    """Questions about images, and captions to be written of the same images.

    Attributes:
        images: (K, 3, h, w) uint8.
        asks: the questions. captions: what should be said of an image; scored, not compared.
        score: of a caption; None marks it right or wrong as a whole.
    """

    images: NDArray[np.uint8]
    asks: tuple[Ask, ...]
    captions: tuple[Ask, ...] = ()
    score: Score | None = None


@dataclass(frozen=True)
class Mark:
    """How often questions of one kind and group were answered rightly.

    Attributes:
        kind: what they ask for. group: how hard the images are.
        n: how many. right: sum of 0 and 1, of shares for captions.
        exact: how many were right to the letter.
    """

    kind: str
    group: str
    n: int
    right: float
    exact: int

    @property
    def rate(self) -> float:
        """Share that was right."""
        return self.right / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share that was right to the letter."""
        return wilson(self.exact, self.n)


@dataclass(frozen=True)
class Marks:
    """Marks of one model under several conditions.

    Attributes:
        seen: with the images. blank: with grey ones in their place. blind: of a model that never saw one; empty where
            none was trained.
        loss: mean cross-entropy of held-out answers, where that was measured [nats per token].
    """

    seen: tuple[Mark, ...]
    blank: tuple[Mark, ...] = ()
    blind: tuple[Mark, ...] = ()
    loss: float | None = None

    def save(self, path: Path) -> None:
        """Write them as JSON."""
        write_json(path, {"schema_version": VERSION, **asdict(self)})

    @classmethod
    def load(cls, path: Path) -> Marks:
        """Read what ``save`` wrote.

        Raises:
            DataError: another version, or damaged.
        """
        with kept_in(path, VERSION) as content:
            seen, blank, blind = (tuple(Mark(**row) for row in content[name]) for name in ("seen", "blank", "blind"))
            return cls(seen, blank, blind, content["loss"])


@contextmanager
def kept_in(path: Path, version: int) -> Generator[Any]:
    """Yield the content of a file of marks of that version; what fails in reading it is an error of that file.

    Raises:
        DataError: another version, or damaged.
    """
    content = read_json(path)
    try:
        if content["schema_version"] != version:
            raise DataError(f"{path}: schema {content['schema_version']}, this sinew reads {version}.")
        yield content
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: damaged ({error}). Measure again.") from error


def sit(exam: Exam, answer: Answerer, *, captions: bool = True, batch: int = 100) -> tuple[Mark, ...]:
    """Put an exam's questions and return a mark for each kind and group, in the order in which they come up.

    Args:
        exam: what is asked.
        answer: who is asked.
        captions: whether captions are asked for, too.
        batch: questions at once.
    """
    right: dict[tuple[str, str], list[float]] = {}
    exact: dict[tuple[str, str], int] = {}
    asks = [*exam.asks, *(exam.captions if captions else ())]
    for first in range(0, len(asks), batch):
        group = asks[first : first + batch]
        said = answer(exam.images[[ask.image for ask in group]], [ask.text for ask in group])
        for ask, text in zip(group, said, strict=True):
            key = (ask.kind, ask.group)
            same = plain(text) == plain(ask.answer)
            scored = ask.kind == CAPTION and exam.score is not None
            right.setdefault(key, []).append(exam.score(ask.answer, text) if scored and exam.score else float(same))
            exact[key] = exact.get(key, 0) + same
    return tuple(Mark(*key, len(values), float(sum(values)), exact[key]) for key, values in right.items())


def plain(text: str) -> str:
    """Return a text as it is compared: lower case, words parted by one space, no full stop."""
    return " ".join(text.lower().split()).rstrip(" .")


def pooled(marks: Sequence[Sequence[Mark]]) -> tuple[Mark, ...]:
    """Return marks of several models together, such as of several seeds."""
    found: dict[tuple[str, str], list[Mark]] = {}
    for mark in (mark for some in marks for mark in some):
        found.setdefault((mark.kind, mark.group), []).append(mark)
    return tuple(
        Mark(*key, sum(one.n for one in some), sum(one.right for one in some), sum(one.exact for one in some))
        for key, some in found.items()
    )


def by_kind(marks: Sequence[Mark]) -> tuple[Mark, ...]:
    """Return a mark for each kind, its groups together."""
    return pooled([[Mark(mark.kind, "all", mark.n, mark.right, mark.exact) for mark in marks]])


def table(marks: Marks) -> list[tuple[str, ...]]:
    """Return rows of text, the first one their heads: what is asked, n, right with interval, blank, blind."""
    rows: list[tuple[str, ...]] = [("asked for", "scene", "n", "right", "95 % interval", "blank image", "blind model")]
    blank, blind = ({(mark.kind, mark.group): mark for mark in some} for some in (marks.blank, marks.blind))
    for mark in marks.seen:
        low, high = mark.interval
        scored = mark.right != mark.exact
        span = f"{mark.exact / mark.n:.3f} to the letter" if scored else f"{low:.3f} to {high:.3f}"
        others = [some.get((mark.kind, mark.group)) for some in (blank, blind)]
        cells = ["" if one is None else f"{one.rate:.3f}" for one in others]
        rows.append((mark.kind, mark.group, str(mark.n), f"{mark.rate:.3f}", span, *cells))
    return rows


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of text as a Markdown table."""
    head, *body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write_page(path: Path, title: str, marks: Marks, facts: Mapping[str, Any]) -> Path:
    """Write ``report.html`` into a run directory, one page that holds everything it shows, and return its path."""
    from sinew.evaluate.page import environment

    head, *rows = table(marks)
    page = (
        environment()
        .get_template("answers.html.j2")
        .render(title=title, head=head, rows=rows, loss=marks.loss, facts=json.dumps(facts, indent=2, default=str))
    )
    write_text(path / "report.html", page)
    return path / "report.html"
