"""Writes a run's report: one self-contained page that needs neither a network nor a server."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sinew.core.errors import DataError, SinewError
from sinew.core.files import write_text
from sinew.evaluate.chart import Curve, Line, line, percent
from sinew.evaluate.checks import Check, too_low
from sinew.evaluate.failures import Failure
from sinew.evaluate.film import Clip
from sinew.evaluate.page import environment
from sinew.evaluate.rates import ALL, Rate, find

LIMIT = 8_000_000
"""Largest size of the page [bytes]."""
PAGE = 300_000
"""Bytes of it kept free for everything but films."""


@dataclass(frozen=True)
class FilmedFailure:
    """An episode that went wrong, with its film.

    Attributes:
        failure: from ``worst``.
        clip: its film.
    """

    failure: Failure
    clip: Clip

    @property
    def words(self) -> str:
        """How common this is and whether it could have gone well."""
        if self.clip.outcomes[0].success:  # a batch of another size rounds otherwise, and a policy may draw
            return (
                f"In the evaluation it failed ({self.failure.outcome.note or 'no note'}); filmed again, it succeeded."
            )
        often = f"{percent(self.failure.share)} % of the failures of {self.failure.task} end like this."
        if self.failure.expert is None:
            return often
        return f"{often} The scripted expert {'succeeds' if self.failure.expert else 'fails, too,'} from here."


@dataclass(frozen=True)
class Moment:
    """How well the policy did at some point of training.

    Attributes:
        share: of the training, in 0 .. 1.
        rates: measured then, of split "seen"; one per task and, where there is one, over all.
    """

    share: float
    rates: tuple[Rate, ...]


@dataclass(frozen=True)
class ReportContent:
    """What the page says. Only the name, the rates and the command are needed; what is empty is left out.

    Attributes:
        name: of the run.
        rates: of every split and control, from ``Evaluation.rates`` or ``pool_runs``.
        command: what to type to get the same run.
        checks: bars and where the rates stand.
        hero: one scene, several sentences, several outcomes.
        failures: the worst first; three are enough.
        films: further episodes.
        moments: success during training, without the final one.
        curves: quantities of metrics.jsonl.
        facts: values by name, by group (data, policy, training, machine, versions).
        config: the full configuration, as plain values.
        explain: a line on each split, by its name.
        answers: by split, a table of what a model could answer before it got a body and after, its heads first.
        date: of the run.
    """

    name: str
    rates: tuple[Rate, ...]
    command: str
    checks: tuple[Check, ...] = ()
    hero: Clip | None = None
    failures: tuple[FilmedFailure, ...] = ()
    films: tuple[Clip, ...] = ()
    moments: tuple[Moment, ...] = ()
    curves: tuple[Curve, ...] = ()
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    explain: Mapping[str, str] = field(default_factory=dict)
    answers: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = ()
    date: str = ""


@dataclass(frozen=True)
class _Control:
    """What a control is, in words: its name, what is wanted of it, and why."""

    title: str
    wanted: str
    why: str


_CONTROLS = {
    "other": _Control(
        "Another goal named",
        "must be high",
        "The same scene under another sentence, judged on what that one says. High only if the words steer the policy.",
    ),
    "wrong": _Control(
        "Wrong goal named",
        "must be low",
        "The sentence names another goal, but the first one is judged. High would mean that the words are ignored.",
    ),
    "silent": _Control(
        "No instruction",
        "must be low",
        "Nothing says what to do. High would mean that the scene alone gives the goal away.",
    ),
    "blank": _Control(
        "Grey images", "must be low", "The policy hears but does not see. High would mean that it needs no eyes."
    ),
    "random": _Control(
        "Random actions", "measured chance", "What happens by itself. The bars above are held against this."
    ),
    "expert": _Control(
        "Scripted expert", "the ceiling", "Reads the simulator's truth instead of images: what this world allows."
    ),
}


@dataclass(frozen=True)
class _Row:
    """A line of the success table."""

    label: str
    rate: Rate
    chance: Rate | None
    strong: bool


@dataclass(frozen=True)
class _Group:
    """The lines of one split."""

    title: str
    words: str
    rows: tuple[_Row, ...]


@dataclass(frozen=True)
class _Panel:
    """One task's success over training: (share, rate) from left to right."""

    label: str
    points: tuple[tuple[float, Rate], ...]


@dataclass(frozen=True)
class _Media:
    """A film as it stands in the page: data addresses, "" where there was no room, and where the file lies."""

    clip: Clip
    video: str
    poster: str
    place: str
    words: str = ""


class _Room:
    """Turns files into data addresses while there is room for them."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, path: Path, kind: str) -> str:
        """Return the file as a data address, or "" if it is too large for what is left."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(
                f"{path}: this film cannot be read ({error.strerror}). Film it again or leave it out of the report."
            ) from error
        address = f"data:{kind};base64,{base64.b64encode(content).decode()}"
        if len(address) > self.left:
            return ""
        self.left -= len(address)
        return address


def write_report(path: Path, content: ReportContent) -> Path:
    """Write ``report.html`` into a run directory and return its path.

    Films are set into the page as long as it stays under ``LIMIT``: the hero first, then the stills, the
    failures and the rest; where a film does not fit, its still stands with the place of its file.

    Args:
        path: the run directory.
        content: what to say.

    Raises:
        DataError: there is no rate over all tasks on seen states, or a film is missing.
        SinewError: the page is too large even so, or cannot be written.
    """
    page = render(path, content)
    if len(page.encode()) > LIMIT:
        raise SinewError(
            f"{path / 'report.html'}: {len(page.encode()) / 1e6:.1f} MB without further films, {LIMIT / 1e6:.0f} MB "
            "are the limit. Give fewer curves, facts or settings."
        )
    target = path / "report.html"
    write_text(target, page)
    return target


def render(path: Path, content: ReportContent) -> str:
    """Return the page; ``path`` is the run directory that places of films are given relative to."""
    headline = find(content.rates, ALL)
    if headline is None:
        raise DataError('A report needs the success rate over all tasks on the split "seen"; evaluate the run first.')
    hero, failures, films = _media(path, content)
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            content=content,
            headline=headline,
            low=_outward(headline)[0],
            high=_outward(headline)[1],
            outward=_outward,
            hero=hero,
            failures=failures,
            films=films,
            groups=_groups(content),
            controls=_controls(content),
            other=find(content.rates, ALL, control="other"),
            wrong=find(content.rates, ALL, control="wrong"),
            chance=find(content.rates, ALL, control="random"),
            panels=_panels(content),
            lines=_lines(content.curves),
            missed=[check for check in content.checks if not check.ok],
            remark=too_low(content.rates) if content.checks else "",
            config=json.dumps(content.config, indent=2, ensure_ascii=False) if content.config else "",
        )
    )


def _outward(rate: Rate) -> tuple[int, int]:
    """Return the interval in whole per cent, rounded outwards so that it never looks narrower."""
    return int(100 * rate.low + 1e-9), -int(-100 * rate.high - 1 + 1e-9)


def _groups(content: ReportContent) -> tuple[_Group, ...]:
    """Return the success table: every split, its tasks and their sum, "seen" first."""
    plain = [rate for rate in content.rates if rate.control == "none"]
    splits = list(dict.fromkeys(["seen", *(rate.split for rate in plain)]))
    groups: list[_Group] = []
    for split in splits:
        rates = [rate for rate in plain if rate.split == split]
        if len(rates) == 2:  # one task: its sum says the same
            rates = [rate for rate in rates if rate.task != ALL]
        rows = tuple(
            _Row(
                "all together" if rate.task == ALL else rate.task,
                rate,
                find(content.rates, rate.task, control="random"),
                rate.task == ALL,
            )
            for rate in rates
        )
        title = "New situations" if split == "seen" else split.replace("_", " ").capitalize()
        default = "Initial states that training never saw, made of things it knows." if split == "seen" else ""
        groups.append(_Group(title, content.explain.get(split, default), rows))
    return tuple(groups)


def _controls(content: ReportContent) -> tuple[tuple[_Control, Rate], ...]:
    """Return each control that was measured, over all tasks, with what is to be thought of it."""
    found = [(control, find(content.rates, ALL, control=name)) for name, control in _CONTROLS.items()]
    return tuple((control, rate) for control, rate in found if rate is not None)


def _panels(content: ReportContent) -> tuple[_Panel, ...]:
    """Return success over training, a panel per task; the final measurement is the last point."""
    if not content.moments:
        return ()
    final = Moment(1.0, tuple(rate for rate in content.rates if (rate.split, rate.control) == ("seen", "none")))
    moments = (*sorted(content.moments, key=lambda moment: moment.share), final)
    panels: list[_Panel] = []
    for task in dict.fromkeys(rate.task for rate in final.rates):
        found = [(moment.share, find(moment.rates, task)) for moment in moments]
        points = tuple((share, rate) for share, rate in found if rate is not None)
        panels.append(_Panel("all together" if task == ALL else task, points))
    return tuple(panels)


def _lines(curves: Sequence[Curve]) -> tuple[Line, ...]:
    """Return the drawings; a run too short for a line has none."""
    return tuple(line(curve) for curve in curves if len(curve.finite) > 1)


def _media(path: Path, content: ReportContent) -> tuple[_Media | None, tuple[_Media, ...], tuple[_Media, ...]]:
    """Set films into the page, the most telling first."""
    room = _Room(LIMIT - PAGE - 2 * len(json.dumps(content.config)))
    hero = None
    if content.hero is not None:
        hero = _medium(path, content.hero, room.take(content.hero.poster, "image/jpeg"), room)
    told = [(item.clip, item.words) for item in content.failures] + [(clip, "") for clip in content.films]
    posters = [room.take(clip.poster, "image/jpeg") for clip, _ in told]
    media = [_medium(path, clip, poster, room, text) for (clip, text), poster in zip(told, posters, strict=True)]
    count = len(content.failures)
    return hero, tuple(media[:count]), tuple(media[count:])


def _medium(path: Path, clip: Clip, poster: str, room: _Room, words: str = "") -> _Media:
    place = clip.path.relative_to(path) if clip.path.is_relative_to(path) else clip.path.name
    return _Media(clip, room.take(clip.path, "video/mp4"), poster, str(place), words)
