"""A run that teaches a vision-language model in stages: conversations, training, an exam, a report; resumable."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from sinew.core.config import to_dict
from sinew.core.errors import ConfigError
from sinew.core.launch import launched
from sinew.core.rundir import RunDir
from sinew.core.types import Cursor
from sinew.data.text_lessons import GREY
from sinew.engine import rng, runcard
from sinew.engine.curves import draw_curves
from sinew.engine.progress import clock
from sinew.engine.track import read_rows
from sinew.engine.trainer import Trainer
from sinew.evaluate.answers import Answerer, Exam, Mark, Marks, markdown, sit, table, write_page
from sinew.models.device import pick_device
from sinew.models.vlm import VLM, Draw
from sinew.models.vlm_parts import build_vision
from sinew.recipes.config import PretrainConfig
from sinew.recipes.pretrain import Pretraining, check_parts
from sinew.recipes.staged import Part, Staged
from sinew.run.clock import Clock
from sinew.run.corpus import Corpus, gather, texts_of
from sinew.run.diagnosing import what_happened
from sinew.run.preflight import progress_of
from sinew.run.screen import heading, say
from sinew.run.stages import Stage, has_body
from sinew.run.staging import begin, plan

if TYPE_CHECKING:
    from sinew.models.vlm_config import VlmConfig
    from sinew.models.vlm_vision import TokenEncoder
    from sinew.run import RunConfig

MARKS = "answers-{split}.json"


def check_stages(config: RunConfig) -> None:
    """Refuse stages that cannot be run, before anything is written.

    Raises:
        ConfigError: with what was seen and wanted.
    """
    stages = stages_of(config)
    texts = texts_of(config)
    if config.env is None and not (texts.captions or texts.instructions):
        raise ConfigError(
            f"{config.name}: nothing to learn from. Name conversations: "
            + (
                "--texts.instructions PATH, and --texts.captions PATH."
                if has_body(stages)
                else f"sinew train {config.name} --data PATH, or captions and instructions with a --data each."
            )
        )
    if launched().size > 1:
        raise ConfigError(f"{config.name}: stages run in one process, {launched().size} were started. Start one.")
    for stage in stages:
        if isinstance(stage.recipe, PretrainConfig):
            check_parts(stage.recipe)
        if stage.batch < 1 or stage.updates < 1:
            raise ConfigError(f"stage {stage.name}: batch {stage.batch}, {stage.updates} updates; at least 1.")
    if sum(stage.updates for stage in stages) != config.loop.updates:
        raise ConfigError(
            f"--loop.updates {config.loop.updates}: the stages "
            f"{', '.join(f'{stage.name} {stage.updates}' for stage in stages)} have "
            f"{sum(stage.updates for stage in stages)} together. Give that number."
        )


def stages_of(config: RunConfig) -> tuple[Stage, ...]:
    """Return the stages of a run.

    Raises:
        ConfigError: it has none.
    """
    if not config.stages:
        raise ConfigError(f"{config.name} teaches a vision-language model but has no stages; see docs/vlm.md.")
    return config.stages


def teach(config: RunConfig, rundir: RunDir, *, root: Path, command: str, timer: Clock) -> None:
    """Do what is left to do; the caller has claimed the directory."""
    heading("Conversations")
    assert config.vlm is not None
    with timer.phase("collect"):
        corpus = gather(config, root, image_size(config.vlm))
    if rundir.phase in ("collect", "train"):
        rundir.enter("train")
        with timer.phase("train"):
            train_phase(config, rundir, corpus, command=command)
        rundir.enter("evaluate")
    if rundir.phase == "evaluate":
        with timer.phase("evaluate"):
            examine(config, rundir, corpus)
        rundir.enter("report")
    with timer.phase("report"):
        write(config, rundir, corpus, timer=timer)
    rundir.enter("done")


def image_size(config: VlmConfig) -> tuple[int, int]:
    """Return the size that images are best kept in: what the vision encoder reads."""
    if config.path:
        return VLM.from_pretrained(config.path).image_size
    encoder: TokenEncoder = cast("Any", build_vision(config))
    return encoder.preprocess.pixels.size


def build(config: RunConfig, corpus: Corpus) -> VLM:
    """Return the model with seeded random weights where it has no others."""
    assert config.vlm is not None
    torch.manual_seed(config.seed)
    return VLM.build(config.vlm, corpus.texts).to(pick_device(config.device))


def staged(config: RunConfig, vlm: VLM, corpus: Corpus, *, note: Callable[[str], None]) -> Staged:
    """Return the recipe of all stages, ready for the trainer."""
    stages = stages_of(config)
    parts = [
        Part(
            stage.name,
            stage.updates,
            partial(pretraining, config, number, vlm, corpus),
            {"optim": to_dict(stage.optim)},
        )
        for number, stage in enumerate(stages)
    ]
    return Staged(parts, on_stage=lambda number, _name: note(f"Stage {in_words(stages[number])}"))


def pretraining(config: RunConfig, number: int, vlm: VLM, corpus: Corpus) -> Pretraining:
    """Return the recipe of a stage that teaches by conversations alone."""
    stage = stages_of(config)[number]
    assert isinstance(stage.recipe, PretrainConfig)
    return Pretraining(
        vlm,
        corpus.stores[stage.recipe.data],
        stage.recipe,
        stage.optim,
        updates=stage.updates,
        seed=stage_seed(config, number),
        among=corpus.learned[stage.recipe.data],
    )


def stage_seed(config: RunConfig, number: int) -> int:
    """Return the seed of a stage."""
    return rng.mix(config.seed, number) % 2**31


def in_words(stage: Stage) -> str:
    """Return a stage's name with its length and with what learns."""
    return f"{stage.name} ({stage.updates} updates: {', '.join(stage.teaches)})"


def foresee(config: RunConfig, rundir: RunDir, corpus: Corpus, *, command: str) -> runcard.Plan:
    """Return what the run will take, each stage rehearsed on a model of its own.

    Raises:
        ConfigError: a stage cannot fit in memory.
    """
    return plan(
        config,
        stages_of(config),
        rundir,
        command=command,
        data={role: store.num_records for role, store in corpus.stores.items()},
        build=lambda number: pretraining(config, number, build(config, corpus), corpus),
    )


def train_phase(config: RunConfig, rundir: RunDir, corpus: Corpus, *, command: str) -> None:
    """Train through all stages, or go on in the middle of one."""
    heading("Training")
    foreseen = begin(foresee(config, rundir, corpus, command=command), rundir)
    vlm = build(config, corpus)
    with progress_of(config, foreseen) as progress, runcard.kept(rundir):
        recipe = staged(config, vlm, corpus, note=progress.note)
        trainer = Trainer(recipe, config.loop, rundir, seed=config.seed, on_log=progress.show, on_note=progress.note)
        state = trainer.run()
    say(f"  {config.loop.updates} updates in {clock(state.elapsed_s)}")


def examine(config: RunConfig, rundir: RunDir, corpus: Corpus) -> None:
    """Put every exam to the trained model, once with grey images too, and to a model that never saw one."""
    heading("Exam")
    vlm = VLM.from_pretrained(rundir.checkpoints / "last").to(pick_device(config.device))
    blind = None
    if texts_of(config).blind and corpus.exams:
        say(f"  training a blind model for comparison, {texts_of(config).blind} updates")
        blind = blind_model(config, corpus)
    for split, exam in corpus.exams.items():
        marks = all_marks(vlm, exam, blind)
        marks.save(rundir.path / MARKS.format(split=split))


def all_marks(vlm: VLM, exam: Exam, blind: VLM | None) -> Marks:
    """Return the marks of a model, of the same with grey images, and of a blind one."""
    answer = answerer(vlm)
    seen = sit(exam, answer)
    grey = sit(dataclasses.replace(exam, images=np.full_like(exam.images, GREY)), answer, captions=False)
    none: tuple[Mark, ...] = () if blind is None else sit(exam, answerer(blind, blind=True), captions=False)
    return Marks(seen, grey, none)


def answerer(vlm: VLM, *, blind: bool = False) -> Answerer:
    """Return who answers questions about one image each: the model, most likely ids first; blind without the image."""

    def answer(images: NDArray[np.uint8], questions: Sequence[str]) -> list[str]:
        if not blind:
            return vlm.answer(images[:, None], questions, Draw(tokens=48))
        chat = vlm.chat()
        vlm.eval()
        rows = vlm.generate(None, [chat.prompt(question) for question in questions], Draw(tokens=48))
        return [vlm.tokens.decode(row) for row in rows]

    return answer


def blind_model(config: RunConfig, corpus: Corpus) -> VLM:
    """Return a model of the same settings whose language model was taught the last stage's questions without images."""
    last = stages_of(config)[-1]
    assert isinstance(last.recipe, PretrainConfig)
    vlm = build(dataclasses.replace(config, seed=rng.mix(config.seed, 99) % 2**31), corpus)
    recipe = dataclasses.replace(last.recipe, parts=("lm",), sight="blank")
    updates = texts_of(config).blind
    pretraining = Pretraining(
        vlm,
        corpus.stores[recipe.data],
        recipe,
        last.optim,
        updates=updates,
        seed=config.seed,
        among=corpus.learned[recipe.data],
    )
    for batch, _ in zip(pretraining.batches(Cursor()), range(updates), strict=False):
        pretraining.update(batch)
    return vlm.eval()


def write(config: RunConfig, rundir: RunDir, corpus: Corpus, *, timer: Clock) -> None:
    """Write curves, the report and the end of the run card."""
    heading("Report")
    rows = read_rows(rundir.metrics)
    draw_curves(rows, rundir.curves)
    found = marks_of(rundir.path)
    times = {name: f"{phase['cpu_s']:.0f} CPU-s" for name, phase in timer.phases.items()}
    facts: dict[str, Any] = {"time": times, **what_happened(rundir), "config": to_dict(config)}
    main = found.get("seen")
    if main is not None:
        write_page(rundir.path, config.name, main, facts)
    results: Mapping[str, str] = {
        f"{mark.kind}, {mark.group} ({split})": f"{mark.right:.0f} of {mark.n}"
        for split, marks in found.items()
        for mark in marks.seen
    }
    elapsed = max((float(row.get("elapsed_s", 0.0)) for row in rows), default=0.0)
    runcard.finish(rundir, results=results, best_update=None, elapsed_s=elapsed)


def marks_of(path: Path) -> dict[str, Marks]:
    """Return the marks that a run left, by split, the one that counts first."""
    files = sorted(path.glob(MARKS.format(split="*")), key=lambda file: file.stem != "answers-seen")
    return {file.stem.removeprefix("answers-"): Marks.load(file) for file in files}


def next_steps(path: Path) -> None:
    """Print how a finished run did and where to look."""
    for split, marks in marks_of(path).items():
        say(f"\nNew scenes, {split}:")
        rows = table(marks)
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            say("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    say(f"\nReport: {path / 'report.html'}")
    say(f"Next:   python -c \"from sinew.models.vlm import VLM; VLM.from_pretrained('{path}/checkpoints/last')\"")


def report_again(path: Path) -> Path:
    """Write a run's report again from what it measured."""
    found = marks_of(path)
    page = write_page(path, path.name, found["seen"], {"again": True})
    say(f"\nReport: {page}")
    say(markdown(table(found["seen"])))
    return page
