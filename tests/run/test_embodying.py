"""A vision-language model gets a body in stages: in a world, and from recordings beside conversations of one's own."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from recipes.toy_texts import CONFIG, OPTIM, toy_vlm, write_texts
from sinew.cli.options import TrainOptions
from sinew.cli.resolve import starting_point
from sinew.core.errors import CheckpointError, ConfigError
from sinew.data.config import DataConfig
from sinew.data.store import Store
from sinew.engine.config import LoopConfig
from sinew.engine.track import read_rows
from sinew.engine.trainer import Trainer
from sinew.evaluate.retained import Retention
from sinew.models.config import FlowHeadConfig, PolicyConfig
from sinew.models.encoder_config import LmFusionConfig, LoraConfig, Qwen2Config
from sinew.models.policy import VLAPolicy
from sinew.models.speaking import speaker_of
from sinew.presets.three_stage import STILL
from sinew.recipes.config import BcConfig, CotrainConfig, PretrainConfig
from sinew.run import InitConfig, RunConfig, report, train
from sinew.run.stages import Stage, TextsConfig
from toy import ToyConfig
from toy_data import random_episode

SPEC = ToyConfig(size=16).spec
ALIGN = PretrainConfig(data="captions", parts=("projector",), exchanges="first", batch=4)
WEB = CotrainConfig(robot=BcConfig(batch=8), ratio=0.5, apart=2, balance="answer")
STAGES = (
    Stage("1 align", 2, ALIGN, OPTIM),
    Stage("2 co-train", 3, WEB, OPTIM),
    Stage("3 specialise", 2, BcConfig(batch=8), dataclasses.replace(OPTIM, ema=0.9, parts=STILL)),
)
RUN = RunConfig(
    name="body",
    device="cpu",
    workers=1,
    env=None,
    policy=PolicyConfig(
        fusion=LmFusionConfig(),
        head=FlowHeadConfig(width=16, layers=1, steps=2, expert="joint", insulate=True),
        width=16,
        horizon=3,
    ),
    recipe=BcConfig(),
    vlm=CONFIG,
    stages=STAGES,
    loop=LoopConfig(updates=7, log_every=1, save_every=5, eval_at=()),
)


class StopError(Exception):
    """Ends a run from within."""


def placed(path: Path, **changes: object) -> RunConfig:
    """Return a run on six recordings and 24 conversations, which lie below ``path`` from now on."""
    if not (path / "set").exists():
        write_texts(path / "set")
        store = Store.create(path / "robot", SPEC)
        store.append(
            [
                random_episode(
                    number,
                    5,
                    spec=SPEC,
                    images={"front": np.random.default_rng(number).integers(0, 256, (5, 3, 16, 16), dtype=np.uint8)},
                    targets={},
                    instruction=("go left", "go right")[number % 2],
                )
                for number in range(6)
            ]
        )
        store.unlock()
    talk = str(path / "set")
    texts = TextsConfig(captions=talk, instructions=talk, held_out=0.25, exam=4, blind=0)
    run = dataclasses.replace(RUN, data=DataConfig(path=str(path / "robot")), texts=texts)
    return dataclasses.replace(run, **changes)  # type: ignore[arg-type]


def weights(path: Path, update: str = "last") -> dict[str, torch.Tensor]:
    return VLAPolicy.from_pretrained(path / "checkpoints" / update).state_dict()


def inside(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in found.items() if name.startswith(tuple(f"{part}." for part in STILL))}


def test_a_model_is_aligned_co_trained_specialised_and_measured_in_one_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = train(placed(tmp_path), root=tmp_path / "runs", command="here")
    said = capsys.readouterr().out
    rows = [row for row in read_rows(path / "metrics.jsonl") if "loss" in row]
    assert [row["stage"] for row in rows] == [0, 0, 1, 1, 1, 2, 2]
    assert [("text" in row, "action" in row) for row in rows[1::2]] == [(False, False), (True, True), (False, True)]
    assert re.search(r"web +18 +18 +0\.5 +33\.3 % +0\.67", said)  # 3 updates of 4 among 18 learned from
    found = Retention.load(path / "kept-seen.json")
    assert [(row.kind, row.n) for row in found.kept] == [("toy", 4)]
    page = (path / "report.html").read_text()
    assert "Held-out" in page
    assert "all questions" in page
    assert "questions still answered (seen)" in (path / "README.md").read_text()
    assert report(path) == path / "report.html"
    assert "questions, seen" in said
    after, settled = weights(path, "5"), weights(path)
    assert all(torch.equal(value, inside(settled)[name]) for name, value in inside(after).items())
    assert any(not torch.equal(value, settled[name]) for name, value in after.items())
    assert speaker_of(VLAPolicy.from_pretrained(path / "checkpoints" / "last")).image_size == (16, 16)


@pytest.mark.parametrize("stop_at", [4, 6])  # while co-training, and while it specialises through adapters
def test_a_run_stopped_in_any_stage_ends_as_an_uninterrupted_one(
    stop_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = dataclasses.replace(STAGES[2], optim=OPTIM, lora=LoraConfig(rank=2))
    loop = dataclasses.replace(RUN.loop, save_every=2)
    run = placed(tmp_path, stages=(*STAGES[:2], last), loop=loop)
    (straight,) = train(run, root=tmp_path / "a", command="here")
    record = Trainer._record

    def stopping(self: Trainer, row: dict[str, float]) -> None:
        record(self, row)
        if row["update"] == stop_at:
            raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_record", stopping)
        with pytest.raises(StopError):
            train(run, root=tmp_path / "b", command="here")
    (again,) = train(run, root=tmp_path / "b", command="here")
    one, two = weights(straight), weights(again)
    assert not any(".lora_" in name for name in one)  # merged when it was kept
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert (straight / "kept-seen.json").read_text() == (again / "kept-seen.json").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": STAGES[::-1]}, "stage 1 align: conversations alone come before the stages with a robot"),
        ({"policy": dataclasses.replace(RUN.policy, fusion=None)}, "--policy.fusion.kind none nothing is seen"),
        ({"policy": dataclasses.replace(RUN.policy, lora=LoraConfig())}, "adapters belong to the last stage"),
        ({"policy": dataclasses.replace(RUN.policy, language=Qwen2Config())}, "set --vlm.vision, --vlm.language"),
        ({"init": InitConfig("run")}, "--init RUN of sinew train vlm"),
        ({"texts": TextsConfig()}, "--texts.instructions PATH"),
        ({"data": DataConfig()}, "Name your recordings: sinew train body --data PATH"),
        (
            {
                "stages": (
                    STAGES[0],
                    dataclasses.replace(STAGES[1], recipe=dataclasses.replace(WEB, ratio=0.0)),
                    STAGES[2],
                )
            },
            "web ratio 0: conversations per robot row, above 0",
        ),
    ],
)
def test_stages_that_give_no_body_are_refused(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        train(placed(tmp_path, **changes), root=tmp_path / "runs", command="here")
    assert not (tmp_path / "runs").exists()


def test_a_taught_model_is_begun_with_and_recordings_are_the_robots(tmp_path: Path) -> None:
    taught = tmp_path / "vlm"
    taught.mkdir()
    toy_vlm().save_pretrained(taught)
    found = starting_point(TrainOptions(preset="vla-three-stage", init=taught, data=(tmp_path / "robot",)))
    assert found.vlm is not None
    assert found.vlm.path == str(taught.resolve())
    assert [stage.name for stage in found.stages or ()] == ["2 co-train", "3 specialise"]
    assert found.loop.updates == sum(stage.updates for stage in found.stages or ())
    assert found.env is None
    assert found.data is not None
    assert found.data.path == str(tmp_path / "robot")
    (taught / "spec.json").write_text("{}")
    with pytest.raises(CheckpointError, match="holds a policy; vla-three-stage begins with a vision-language model"):
        starting_point(TrainOptions(preset="vla-three-stage", init=taught))
