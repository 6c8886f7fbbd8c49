"""What the commands take beside the settings of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import tyro

from sinew.core.errors import ConfigError
from sinew.presets.size import Size


@dataclass(frozen=True)
class TrainOptions:
    """Train a policy and report how well it does.

    Attributes:
        preset: name or Python file of the preset; it may also stand first, without a flag.
        size: width and depth of the policy, with the learning rate and batch that go with it.
        architecture: of the policy, by its name, in place of the preset's.
        config: JSON file with settings, such as the config.json of a run; put over the preset.
        seeds: trainings with consecutive seeds, for intervals over seeds.
        quick: the same in about two minutes, to see that everything works.
        dry_run: only say what it would take in time, memory and disk, and what may go wrong.
        data: recordings to learn from, for presets without a world: file or directory; several of one robot are mixed.
            For presets of vision-language models: conversations in LLaVA's layout, or two, captions first.
        weights: how often each of several recordings is drawn, times its size; 1 for all by default.
        spec: JSON file with what the recordings do not say of their robot; by default the one beside them.
        instruction: the sentence for recordings that carry none.
        init: run or checkpoint whose weights to begin with; its policy settings are taken along.
        from_: run or checkpoint whose policy to improve, for presets that do that.
        out: directory that holds runs.
    """

    preset: str | None = None
    size: Size = "small"
    architecture: str | None = None
    config: Path | None = None
    data: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    weights: tuple[float, ...] | None = None
    spec: Path | None = None
    instruction: str | None = None
    init: Path | None = None
    from_: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    seeds: int = 1
    quick: bool = False
    dry_run: bool = False
    out: Path = Path("runs")


@dataclass(frozen=True)
class CollectOptions:
    """Record demonstrations: of a world's scripted expert, or of a person who drives.

    Attributes:
        preset: name or Python file of the preset; it may also stand first, without a flag.
        size: of the policy; changes no demonstration.
        config: JSON file with settings, put over the preset.
        episodes: successful episodes to keep, the preset's number by default; with --teleop as many as you like.
        out: directory for the episodes; by default the place where training would look, or recordings/NAME.
        teleop: who drives instead of the expert: keyboard, gamepad, or file.py:function that returns actions.
        robot: what is driven instead of the preset's world: file.py:object with the robot's methods.
        spec: JSON file with the robot's spec; by default its own.
        instruction: what a robot's episodes show; by default its own.
        tasks: of the world, those to record by hand; all by default.
        task: what to call the episodes in tables.
        seconds: longest episode that a person records.
        limits: file with the limits of a shield between person and robot; by default the robot's own, if it has any.
        to: write the recording in this format too, such as lerobot, beside it.
    """

    preset: str | None = None
    size: Size = "small"
    config: Path | None = None
    episodes: int | None = None
    out: Path | None = None
    teleop: str | None = None
    robot: str | None = None
    spec: Path | None = None
    instruction: str | None = None
    tasks: tuple[str, ...] | None = None
    task: str | None = None
    seconds: float = 60.0
    limits: Path | None = None
    to: str | None = None


@dataclass(frozen=True)
class EvaluateOptions:
    """Measure the policy of a run on initial states it never saw.

    Attributes:
        run: directory of the run, or one of its checkpoints.
        against: another run, compared on the same initial states.
        episodes: per task; what the run was configured with by default.
        env: a world to measure it in instead of its own; its settings follow as --env.NAME VALUE.
        tasks: of the world, those to measure; all by default.
        shield: measure it behind the shield too, on the same states.
        limits: file with the shield's limits; by default those that the robot's description implies.
        ramp: seconds from rest to full speed in those that it implies, 0.3 by default; less is looser.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    against: Path | None = None
    episodes: int | None = None
    env: str | None = None
    tasks: tuple[str, ...] | None = None
    shield: bool = False
    limits: Path | None = None
    ramp: float | None = None


@dataclass(frozen=True)
class ReportOptions:
    """Write the report of a run again from what it measured.

    Attributes:
        run: directory of the run.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]


Options = TypeVar("Options", bound=TrainOptions | CollectOptions)


def split_words(kind: type[Options], words: list[str], program: str) -> tuple[Options, list[str]]:
    """Return the options among the words, the preset found, and the words that are flags of a ``RunConfig``.

    Raises:
        ConfigError: several data sets stand behind one --data.
    """
    name = words[0] if words and not words[0].startswith("-") else None
    if name is not None:
        _check_data(words)
    options, rest = tyro.cli(kind, args=words[1 if name else 0 :], prog=program, return_unknown_args=True)
    if name is None and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
    return dataclasses.replace(options, preset=name or options.preset), rest


def _check_data(words: Sequence[str]) -> None:
    for flag, first, second in zip(words, words[1:], words[2:], strict=False):
        if flag == "--data" and not first.startswith("-") and not second.startswith("-"):
            raise ConfigError(
                f"--data {first} {second}: each data set takes a flag of its own: --data {first} --data {second}"
            )
