"""A run in stages that gives a vision-language model a body: aligned, co-trained, specialised, measured; resumable."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from sinew.core.config import to_dict
from sinew.core.errors import ConfigError
from sinew.core.rundir import RunDir
from sinew.core.types import Recipe
from sinew.data.augment import check_augment
from sinew.data.mixture import table
from sinew.data.pairs import WebRows, lines
from sinew.data.phrases import spoken
from sinew.data.text_lessons import TextLessons
from sinew.engine import rng, runcard
from sinew.engine.progress import clock
from sinew.engine.trainer import Trainer, Tried
from sinew.evaluate.answers import sit
from sinew.evaluate.retained import Retention, chances
from sinew.models.config import PolicyConfig
from sinew.models.device import pick_device
from sinew.models.encoder_config import LmFusionConfig
from sinew.models.policy import VLAPolicy
from sinew.models.speaking import embodied, learn_words, speaker_of
from sinew.models.vlm import VLM
from sinew.recipes.bc import BehaviourCloning
from sinew.recipes.config import CotrainConfig
from sinew.recipes.cotrain import CoTraining, check_ratio
from sinew.recipes.staged import Part, Staged
from sinew.run.bodies import Body, lines_of
from sinew.run.clock import Clock
from sinew.run.corpus import Corpus, gather
from sinew.run.parts import check_labels
from sinew.run.preflight import progress_of
from sinew.run.reporting import KEPT, kept_tables
from sinew.run.screen import columns, console, heading, say
from sinew.run.staging import begin, plan
from sinew.run.teaching import answerer, image_size, in_words, pretraining, stage_seed, stages_of

if TYPE_CHECKING:
    from pathlib import Path

    from sinew.run import RunConfig


def check_embodied(config: RunConfig) -> None:
    """Refuse stages that cannot give a model a body, before anything is written.

    Raises:
        ConfigError: with what was seen and wanted.
    """
    stages = stages_of(config)
    first = next(number for number, stage in enumerate(stages) if stage.robot is not None)
    late = [stage.name for stage in stages[first:] if stage.robot is None]
    if late:
        raise ConfigError(f"stage {late[0]}: conversations alone come before the stages with a robot. Move it up.")
    if not isinstance(config.policy.fusion, LmFusionConfig):
        fusion = "none" if config.policy.fusion is None else config.policy.fusion.kind
        raise ConfigError(
            f"stage {stages[first].name}: the policy's language model learns from conversations, and with "
            f"--policy.fusion.kind {fusion} nothing is seen through it. Set it to lm."
        )
    plain, policy = PolicyConfig(), config.policy
    told = (policy.vision, dataclasses.replace(policy.language, max_tokens=0), policy.projector)  # type: ignore[arg-type]
    if told != (plain.vision, dataclasses.replace(plain.language, max_tokens=0), plain.projector):  # type: ignore[arg-type]
        raise ConfigError(
            "what the policy sees and reads with is the model that it is built around: set --vlm.vision, "
            "--vlm.language and --vlm.projector. Of --policy.language only max-tokens is taken."
        )
    if config.policy.lora is not None or any(stage.lora for stage in stages[:-1]):
        raise ConfigError("adapters belong to the last stage, as its lora; take --policy.lora and others out.")
    if config.init is not None:
        raise ConfigError("a run in stages begins with a vision-language model: --init RUN of sinew train vlm.")
    mix = None if config.data is None else config.data.mix
    if config.data is not None and (config.data.ingest.stream is not None or (mix and mix.success_power)):
        raise ConfigError("a run in stages reads its recordings in as a whole, drawn by fixed weights; leave out "
                          "--data.ingest.stream and success_power.")  # fmt: skip
    for stage in stages[first:]:
        if stage.robot is not None:
            check_augment(stage.robot.augment)
        if isinstance(stage.recipe, CotrainConfig):
            check_ratio(stage.recipe.ratio, stage.recipe.weight)


def embody(
    config: RunConfig, rundir: RunDir, body: Callable[[], Body], *, root: Path, command: str, timer: Clock
) -> None:
    """Do what is left to do; the caller has claimed the directory.

    Args:
        config: of the run.
        rundir: its directory.
        body: returns the robot, recorded now if it was not before.
        root: directory that holds runs.
        command: what was typed.
        timer: of the phases.
    """
    assert config.vlm is not None
    with timer.phase("collect"):
        known = body()
        heading("Conversations")
        corpus = gather(config, root, image_size(config.vlm))
    if rundir.phase in ("collect", "train"):
        rundir.enter("train")
        with timer.phase("train"):
            train_phase(config, rundir, known, corpus, command=command)
        rundir.enter("evaluate")
    if rundir.phase == "evaluate":
        with timer.phase("evaluate"):
            known.measure(rundir)
            examine_again(config, rundir, corpus)
        rundir.enter("report")
    with timer.phase("report"):
        known.write(rundir, command=command, timer=timer)
    rundir.enter("done")


def build(config: RunConfig, body: Body, corpus: Corpus) -> VLAPolicy:
    """Return a policy around the run's model, which knows the words of conversations and instructions."""
    assert config.vlm is not None
    torch.manual_seed(config.seed)
    sentences = body.sentences | _paraphrases(config)
    vlm = VLM.build(config.vlm, (*corpus.texts, *sorted(sentences)))
    learn_words(vlm, sentences)
    policy = embodied(vlm, body.policy, body.robots)
    body.fit(policy)
    return policy.to(pick_device(config.device))


def parts_of(config: RunConfig, policy: VLAPolicy, body: Body, corpus: Corpus) -> list[Part]:
    """Return the stages of a run.

    Args:
        config: of the run.
        policy: that learns.
        body: its robot.
        corpus: conversations.
    """
    vlm = speaker_of(policy)
    learns = {id(item) for item in policy.parameters() if item.requires_grad}

    def make(number: int) -> Recipe[Any]:
        for item in policy.parameters():
            item.requires_grad_(id(item) in learns)
        if stages_of(config)[number].robot is None:
            return pretraining(config, number, vlm, corpus)
        return moving(config, number, policy, body, corpus)

    return [
        Part(stage.name, stage.updates, partial(make, number), {"optim": to_dict(stage.optim)})
        for number, stage in enumerate(stages_of(config))
    ]


def foresee(config: RunConfig, rundir: RunDir, body: Body, corpus: Corpus, *, command: str) -> runcard.Plan:
    """Return what the run will take, each stage rehearsed on a policy of its own.

    Raises:
        ConfigError: a stage cannot fit in memory.
    """
    return plan(
        config,
        stages_of(config),
        rundir,
        command=command,
        data={**body.counts, **{role: store.num_records for role, store in corpus.stores.items()}},
        build=lambda number: parts_of(config, build(config, body, corpus), body, corpus)[number].build(),
        waits=body.waits,
    )


def moving(
    config: RunConfig, number: int, policy: VLAPolicy, body: Body, corpus: Corpus
) -> CoTraining | BehaviourCloning:
    """Return the recipe of a stage with a robot, with conversations beside it or without."""
    stage, seed = stages_of(config)[number], stage_seed(config, number)
    robot, recipe = stage.robot, stage.recipe
    assert robot is not None
    if stage.lora is not None:
        policy.adapt(stage.lora)
    check_labels(robot.augment, policy.config, body.spec)
    inner = BehaviourCloning(
        policy, body.windows(), robot, stage.optim, updates=stage.updates, seed=seed, device=policy.device
    )
    if not isinstance(recipe, CotrainConfig):
        return inner
    vlm = speaker_of(policy)
    lessons = TextLessons(
        corpus.stores[recipe.data],
        vlm.chat(),
        recipe,
        max_tokens=vlm.config.max_tokens,
        pad=vlm.speech.pad,
        seed=seed,
        among=corpus.learned[recipe.data],
    )
    return CoTraining(inner, vlm, lessons, ratio=recipe.ratio, batch=robot.batch, weight=recipe.weight, seed=seed)


def train_phase(config: RunConfig, rundir: RunDir, body: Body, corpus: Corpus, *, command: str) -> None:
    """Train through all stages, or go on in the middle of one; the exam is sat before the robot comes in."""
    heading("Training")
    for text in mixing(config, body, corpus):
        say(f"  {text}")
    foreseen = begin(foresee(config, rundir, body, corpus, command=command), rundir)
    policy = build(config, body, corpus)
    with progress_of(config, foreseen) as progress, runcard.kept(rundir):

        def entered(number: int, _name: str) -> None:
            progress.note(f"Stage {in_words(stages_of(config)[number])}")
            if stages_of(config)[number].robot is not None:
                examine(rundir, policy, corpus, note=progress.note)

        recipe = Staged(parts_of(config, policy, body, corpus), on_stage=entered)
        tryout = body.tryout(rundir, recipe, progress.note)

        def tried(update: int) -> Tried:
            return tryout(update) if isinstance(recipe.acting(), VLAPolicy) else None

        trainer = Trainer(
            recipe,
            config.loop,
            rundir,
            seed=config.seed,
            on_eval=tried,
            on_log=progress.show,
            on_note=progress.note,
        )
        state = trainer.run()
    say(f"  {config.loop.updates} updates in {clock(state.elapsed_s)}")


def examine(rundir: RunDir, policy: VLAPolicy, corpus: Corpus, *, note: Callable[[str], None]) -> None:
    """Let the model sit every exam before it moves a robot for the first time, unless it has."""
    left = {split: exam for split, exam in corpus.exams.items() if not _place(rundir, split).exists()}
    if left:
        note("  the exam, before any robot")
    with rng.kept():
        for split, exam in left.items():
            Retention(sit(exam, answerer(speaker_of(policy))), chances(exam)).save(_place(rundir, split))


def examine_again(config: RunConfig, rundir: RunDir, corpus: Corpus) -> None:
    """Let the trained policy sit the same exams and keep both marks side by side."""
    policy = VLAPolicy.from_pretrained(rundir.checkpoints / "last", device=str(pick_device(config.device)))
    vlm = speaker_of(policy)
    for split, exam in corpus.exams.items():
        found = Retention.load(_place(rundir, split))
        dataclasses.replace(found, after=sit(exam, answerer(vlm))).save(_place(rundir, split))


def mixing(config: RunConfig, body: Body, corpus: Corpus) -> list[str]:
    """Return, a table for each stage with a robot, how often each source is seen."""
    found: list[str] = []
    for number, stage in enumerate(stages_of(config)):
        if stage.robot is None:
            continue
        seed, batch = stage_seed(config, number), stage.robot.batch
        every = lines_of(body.windows(), batch=batch, updates=stage.updates, seed=seed)
        if isinstance(stage.recipe, CotrainConfig):
            web = WebRows(len(corpus.learned[stage.recipe.data]), stage.recipe.ratio, batch, seed)
            every = lines(every, web, stage.updates)
        found += [f"{stage.name}:", *(f"  {text}" for text in table(every))]
    return found


def next_steps(path: Path) -> None:
    """Print what a finished run still knows of what it was asked."""
    for split, rows in kept_tables(path).items():
        console.print()
        columns((f"questions, {split}", *rows[0][1:]), [(f"{row[0]}, {row[1]}", *row[2:]) for row in rows[1:]])


def _place(rundir: RunDir, split: str) -> Path:
    return rundir.path / KEPT.format(split=split)


def _paraphrases(config: RunConfig) -> set[str]:
    """Return texts with the words that augmentation may put into instructions."""
    phrases = [stage.robot.augment.phrases for stage in stages_of(config) if stage.robot is not None]
    return {text for one in phrases if one is not None for text in spoken(one)}
