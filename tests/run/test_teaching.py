"""A staged run from nothing to its report, in a world that describes its scenes and on conversations of one's own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from recipes.toy_texts import CONFIG, OPTIM, write_texts
from sinew.core.config import from_dict, to_dict
from sinew.core.errors import ConfigError
from sinew.engine.config import LoopConfig
from sinew.engine.track import read_rows
from sinew.envs.tabletop.config import TabletopConfig
from sinew.evaluate.answers import Marks
from sinew.models.vlm import VLM
from sinew.models.vlm_config import StemConfig
from sinew.recipes.config import PretrainConfig
from sinew.run import RunConfig, report, train
from sinew.run.parts import run_path
from sinew.run.stages import Stage, TextsConfig

READ = PretrainConfig(data="captions", parts=("vision", "reader"), exchanges="first", plain=True, batch=4)
ALIGN = PretrainConfig(data="captions", parts=("projector",), exchanges="first", batch=4)
ANSWER = PretrainConfig(apart=2, balance="answer", batch=4)
STAGES = (Stage("read", 2, READ, OPTIM), Stage("align", 2, ALIGN, OPTIM), Stage("instruct", 2, ANSWER, OPTIM))
RUN = RunConfig(
    name="small-vlm",
    device="cpu",
    env=TabletopConfig(image_size=24, colours=4, objects=2),
    vlm=dataclasses.replace(CONFIG, vision=StemConfig(image=24, patch=12, width=24, layers=1, heads=2), max_tokens=200),
    texts=TextsConfig(scenes=8, questions=6, exam=2, blind=1),
    stages=STAGES,
    loop=LoopConfig(updates=6, log_every=1, eval_at=()),
)


def test_a_world_is_described_taught_and_examined(tmp_path: Path) -> None:
    (path,) = train(RUN, root=tmp_path, command="here")
    assert [row["stage"] for row in read_rows(path / "metrics.jsonl")] == [0, 0, 1, 1, 2, 2]
    marks = Marks.load(path / "answers-seen.json")
    asked = {(mark.kind, mark.group) for mark in marks.seen}
    assert {("colour", "one"), ("relation", "two"), ("count", "two"), ("caption", "one")} <= asked
    assert {(mark.kind, mark.group) for mark in marks.blank} == {pair for pair in asked if pair[0] != "caption"}
    assert {mark.kind for mark in marks.blind} == {mark.kind for mark in marks.blank}
    assert all(mark.n <= 2 for mark in marks.seen)
    page = (path / "report.html").read_text()
    assert "blind model" in page
    assert "colour by side" in page
    assert "relation, two (seen)" in (path / "README.md").read_text()
    assert report(path) == path / "report.html"
    assert VLM.from_pretrained(path / "checkpoints" / "last").image_size == (24, 24)
    assert train(RUN, root=tmp_path, command="again") == (path,)


def test_conversations_of_ones_own_are_read_in_and_some_held_out(tmp_path: Path) -> None:
    data = str(write_texts(tmp_path / "set"))
    texts = TextsConfig(captions=data, instructions=data, held_out=0.25, exam=4, blind=0)
    config = dataclasses.replace(RUN, env=None, vlm=CONFIG, texts=texts)
    (path,) = train(config, root=tmp_path, command="here")
    marks = Marks.load(path / "answers-seen.json")
    assert [(mark.kind, mark.group, mark.n) for mark in marks.seen] == [("toy", "held out", 4)]
    assert not marks.blind


def test_stages_survive_the_config_file_and_mistakes_in_them_are_named(tmp_path: Path) -> None:
    content = to_dict(RUN)
    assert from_dict(RunConfig, content, "file") == RUN
    content["stages"][1]["recipe"]["partz"] = ["lm"]
    with pytest.raises(ConfigError, match=r"stages\.1\.recipe\.partz: unknown setting; did you mean .*parts"):
        from_dict(RunConfig, content, "file")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": None}, "has no stages"),
        ({"env": None}, "small-vlm: nothing to learn from. Name conversations"),
        ({"loop": LoopConfig(updates=9)}, "--loop.updates 9: the stages read 2, align 2, instruct 2 have 6 together"),
        ({"stages": (dataclasses.replace(STAGES[0], recipe=PretrainConfig(parts=("eyes",))),)}, "stage parts eyes"),
    ],
)
def test_stages_that_cannot_be_run_are_refused(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        train(dataclasses.replace(RUN, **changes), root=tmp_path, command="here")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_runs_without_a_vision_language_model_keep_their_directory() -> None:
    """What is not set is as if it did not exist."""
    old = {"vlm", "texts", "stages"}
    plain = to_dict(RunConfig())
    assert all(plain[name] is None for name in old)
    assert (
        run_path(RunConfig(), Path()).name
        == run_path(from_dict(RunConfig, {k: v for k, v in plain.items() if k not in old}, "old"), Path()).name
    )
