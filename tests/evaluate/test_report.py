from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sinew.core.errors import DataError, SinewError
from sinew.evaluate import report
from sinew.evaluate.chart import Curve
from sinew.evaluate.checks import checks
from sinew.evaluate.failures import Failure
from sinew.evaluate.film import Clip, FilmJob, film_job
from sinew.evaluate.rates import rates
from sinew.evaluate.report import FilmedFailure, Moment, ReportContent, write_report
from sinew.evaluate.success import Cell
from toy import ToyConfig

VOID = {"meta", "link", "img", "br", "hr", "input", "source", "col"}
CONFIG = ToyConfig(size=8, stuck=3)


class Page(HTMLParser):
    """Reads a page strictly: what is opened must be closed in order; addresses and texts are kept."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.ids: list[str] = []
        self.feed(content)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        assert len(values) == len(attrs), f"an attribute of {tag} stands twice"
        self.tags.append((tag, values))
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "poster", "srcset", "data")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts).replace("\xa0", " "))


def measured(make_cell: Callable[..., Cell], *, right: int = 19) -> tuple[Cell, ...]:
    cells = [make_cell(20, 20, task="left"), make_cell(right, 20, task="right")]
    cells += [make_cell(8, 10, task=task, split="far_away") for task in ("left", "right")]
    for control, successes in {"other": 9, "wrong": 0, "silent": 1, "random": 1, "expert": 10}.items():
        cells += [make_cell(successes, 10, task=task, control=control) for task in ("left", "right")]
    return tuple(cells)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[Clip, ...]:
    folder = tmp_path_factory.mktemp("run") / "videos"
    jobs = [("hero", ("seen/left/1", "seen/left/1~other")), ("fails", ("seen/right/3",)), ("works", ("seen/right/2",))]
    return tuple(film_job(FilmJob(CONFIG, "expert", ids, folder / f"{name}.mp4", size=96)) for name, ids in jobs)


@pytest.fixture
def content(make_cell: Callable[..., Cell], clips: tuple[Clip, ...]) -> ReportContent:
    figures = rates([measured(make_cell)])
    early = rates([(make_cell(3, 10, task="left"), make_cell(6, 10, task="right"))])
    hero, fails, works = clips
    return ReportContent(
        name="toy-1a2b3c4d",
        rates=figures,
        command="sinew train toy --seed 3",
        checks=checks(figures),
        hero=hero,
        failures=(FilmedFailure(Failure("seen", "right", fails.outcomes[0], 0.75, expert=True), fails),),
        films=(works,),
        moments=(Moment(0.5, early),),
        curves=(Curve("loss/total", (0, 50, 100), (2.0, 1.0, 0.625)),),
        facts={"Data": {"demonstrations": "3,000"}, "Machine": {"cores": "2"}},
        config={"seed": 3, "policy": {"width": 64}},
        explain={"far_away": "Further than ever in training."},
        date="1 May 2031",
    )


def run_of(clips: tuple[Clip, ...]) -> Path:
    return clips[0].path.parent.parent


def test_the_page_is_well_formed_and_asks_the_network_for_nothing(
    content: ReportContent, clips: tuple[Clip, ...]
) -> None:
    path = write_report(run_of(clips), content)
    assert path == run_of(clips) / "report.html"
    text = path.read_text()
    page = Page(text)
    assert len(text.encode()) <= report.LIMIT
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert "default-src 'none'" in next(v["content"] or "" for tag, v in page.tags if v.get("http-equiv"))
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", text.replace(content.command, ""))


def test_films_in_the_page_are_the_films_on_disk(content: ReportContent, clips: tuple[Clip, ...]) -> None:
    page = Page(report.render(run_of(clips), content))
    videos = [values["src"] or "" for tag, values in page.tags if tag == "video"]
    assert [base64.b64decode(video.partition(",")[2]) for video in videos] == [clip.path.read_bytes() for clip in clips]
    labels = [values["aria-label"] for tag, values in page.tags if tag == "video"]
    assert labels[1:] == ["“go right”: failure", "“go right”: success"]
    assert all(values["poster"] for tag, values in page.tags if tag == "video")


def test_the_page_says_what_was_measured(content: ReportContent, clips: tuple[Clip, ...]) -> None:
    text = Page(report.render(run_of(clips), content)).text
    for words in (
        "Follows the instruction in 98 % of 40 new situations",
        "95 % interval 87 to 100 %",
        "does that instead in 90 % of 20",
        "Random actions succeed in 10 %",
        "right 95 % 76\u2013100 of 20",
        "Far away Further than ever in training.",
        "80 % 58\u201392 of 20",
        "Wrong goal named must be low 0 % 0\u201317 of 20",
        "Grey images",
        "two sentences",
        "“go right”",
        "75 % of the failures of right end like this. The scripted expert succeeds from here.",
        "Out of time.",
        "tried out at 50 and 100 % of the training",
        "loss/total",
        "0.625",
        "demonstrations 3,000",
        "sinew train toy --seed 3",
        '"width": 64',
        "1 May 2031",
    ):
        assert (words in text) is (words != "Grey images"), words  # that control was not measured


def test_intervals_are_drawn_where_they_lie(content: ReportContent, clips: tuple[Clip, ...]) -> None:
    page = Page(report.render(run_of(clips), content))
    seen = next(rate for rate in content.rates if rate.task == "right")
    bars = [values for tag, values in page.tags if tag == "line" and values.get("class") == "bar"]
    ends = [(values["x1"], values["x2"]) for values in bars]
    assert (f"{100 * seen.low:.2f}%", f"{100 * seen.high:.2f}%") in ends
    assert ("cx", "95.00%") in [item for tag, values in page.tags if tag == "circle" for item in values.items()]


def test_only_one_scene_is_called_one_scene(content: ReportContent, clips: tuple[Clip, ...]) -> None:
    page = report.render(run_of(clips), content)
    assert "One scene, two sentences, two outcomes" in page
    assert "Rings mark" not in page
    mixed = dataclasses.replace(clips[0], one_scene=False, points=("left_hand", "goal"))
    page = report.render(run_of(clips), dataclasses.replace(content, hero=mixed))
    assert "One scene" not in page
    assert "Two sentences, two outcomes" in page
    assert "Rings mark where it believes the left hand and the goal to be." in page


def test_a_failure_that_did_not_happen_again_says_so(content: ReportContent, clips: tuple[Clip, ...]) -> None:
    failed = Failure("seen", "right", dataclasses.replace(clips[1].outcomes[0], note="fell over"), 0.5, expert=None)
    again = dataclasses.replace(content, failures=(FilmedFailure(failed, clips[2]),))
    assert "In the evaluation it failed (fell over); filmed again, it succeeded." in report.render(run_of(clips), again)


def test_missed_bars_are_named(content: ReportContent, make_cell: Callable[..., Cell], clips: tuple[Clip, ...]) -> None:
    poor = rates([measured(make_cell, right=10)])
    text = Page(report.render(run_of(clips), dataclasses.replace(content, rates=poor, checks=checks(poor)))).text
    assert "Missed:" in text
    assert "success on seen states, right: 50.0 %, wanted at least 95.0 %" in text
    assert "bars are met. Missed" in text
    good = dataclasses.replace(content, checks=tuple(check for check in content.checks if check.ok))
    assert f"All {len(good.checks)} bars are met." in Page(report.render(run_of(clips), good)).text


def test_every_string_is_escaped(
    content: ReportContent, make_cell: Callable[..., Cell], clips: tuple[Clip, ...]
) -> None:
    evil = "<script>x</script>\"'&"
    clip = dataclasses.replace(
        clips[1], instructions=(evil,), outcomes=(dataclasses.replace(clips[1].outcomes[0], note=evil),)
    )
    spoilt = ReportContent(
        name=evil,
        rates=rates([(make_cell(1, 2, task=evil), make_cell(1, 2, task=evil, split=evil))]),
        command=evil,
        hero=clip,
        failures=(FilmedFailure(Failure("seen", evil, clip.outcomes[0], 1.0, expert=None), clip),),
        films=(clip,),
        moments=(Moment(0.5, rates([(make_cell(1, 2, task=evil),)])),),
        curves=(Curve(evil, (0, 1), (1, 2)),),
        facts={evil: {evil: evil}},
        config={evil: evil},
        explain={"seen": evil},
        date=evil,
    )
    page = Page(report.render(run_of(clips), spoilt))
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert evil in page.text


def test_a_report_of_bare_rates_leaves_the_rest_out(make_cell: Callable[..., Cell], tmp_path: Path) -> None:
    bare = ReportContent("bare", rates([(make_cell(1, 2),)]), "sinew train bare")
    page = Page(write_report(tmp_path, bare).read_text())
    assert page.ids == ["success", "again"]
    assert "Follows the instruction in 50 % of 2 new situations" in page.text
    assert "all together" not in page.text
    assert "Random" not in page.text


def test_what_a_model_still_answers_stands_in_the_same_report(make_cell: Callable[..., Cell], tmp_path: Path) -> None:
    rows = (("asked for", "kept"), ("<colour>", "93 %"))
    kept = ReportContent("kept", rates([(make_cell(1, 2),)]), "x", answers=(("seen", rows),))
    page = Page(write_report(tmp_path, kept).read_text())
    assert "Questions" in page.text
    assert "seen asked for kept <colour> 93 %" in page.text
    assert "answers" in page.ids


def test_a_run_too_short_for_curves_still_has_a_report(make_cell: Callable[..., Cell], tmp_path: Path) -> None:
    short = ReportContent("short", rates([(make_cell(1, 2),)]), "x", curves=(Curve("loss", (1,), (0.5,)),))
    assert "learning" not in Page(write_report(tmp_path, short).read_text()).ids


def test_several_seeds_are_said_to_be_pooled(make_cell: Callable[..., Cell], tmp_path: Path) -> None:
    pooled = rates([(make_cell(9, 10),), (make_cell(10, 10),)])
    text = Page(write_report(tmp_path, ReportContent("two", pooled, "x")).read_text()).text
    assert "2 training seeds pooled, the worst at 90 %" in text


def test_films_that_do_not_fit_are_named_instead(
    content: ReportContent, clips: tuple[Clip, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    posters = sum(4 * clip.poster.stat().st_size // 3 + 30 for clip in clips)
    hero = 4 * clips[0].path.stat().st_size // 3 + 30
    monkeypatch.setattr(report, "LIMIT", report.PAGE + posters + hero + 200)
    text = report.render(run_of(clips), content)
    page = Page(text)
    assert len(text.encode()) <= report.LIMIT
    assert [tag for tag, _ in page.tags].count("video") == 1
    assert [values["alt"] for tag, values in page.tags if tag == "img"] == [
        "“go right”: failure",
        "“go right”: success",
    ]
    assert "The film is in videos/works.mp4" in page.text


def test_a_page_that_is_too_large_is_not_written(
    make_cell: Callable[..., Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "LIMIT", 1000)
    with pytest.raises(SinewError, match="limit"):
        write_report(tmp_path, ReportContent("bare", rates([(make_cell(1, 2),)]), "x"))
    assert list(tmp_path.iterdir()) == []


def test_missing_films_and_rates_are_refused(content: ReportContent, clips: tuple[Clip, ...], tmp_path: Path) -> None:
    gone = dataclasses.replace(clips[0], path=tmp_path / "gone.mp4")
    with pytest.raises(DataError, match=r"gone\.mp4.*Film it again"):
        write_report(tmp_path, dataclasses.replace(content, hero=gone))
    with pytest.raises(DataError, match="evaluate the run first"):
        write_report(tmp_path, dataclasses.replace(content, rates=()))


def test_a_short_fact_such_as_a_time_stays_on_one_line(content: ReportContent, clips: tuple[Clip, ...]) -> None:
    facts = {"time": {"train": "9:36", "machine": "x" * 60}}
    page = write_report(run_of(clips), dataclasses.replace(content, facts=facts)).read_text()
    assert '<dd class="short">9:36</dd>' in page
    assert f"<dd>{'x' * 60}</dd>" in page
    assert "dd.short { white-space: nowrap; }" in page
