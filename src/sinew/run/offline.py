"""Measures a policy on recordings it never learned from: while it trains, at the end, and again when asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from sinew.core import config as configs
from sinew.core.files import point_link, read_json, write_json
from sinew.core.rundir import RunDir
from sinew.data.mixture import Mixture
from sinew.data.shares import Attention
from sinew.data.windows import Windows
from sinew.engine.distributed import world
from sinew.evaluate.offline import OfflineError, Replay, action_error, joined, replay
from sinew.evaluate.probe import probe
from sinew.models.policy import VLAPolicy
from sinew.models.policy_files import write_body
from sinew.recipes.bc import BehaviourCloning
from sinew.run.lessons import Lessons, lessons
from sinew.run.parts import pick_device
from sinew.run.recordings import data_of, read_in
from sinew.run.screen import heading, say

if TYPE_CHECKING:
    from sinew.core.types import ChunkPolicy, Recipe, RobotSpec
    from sinew.run import RunConfig

FILE = "offline.json"
BODIES = "bodies"
"""Where a run keeps a policy directory for each body that its policy learned on."""
SOURCE_FRAMES = 512
"""Held-out windows that each source is measured on."""
REPLAYS = 3
"""Held-out episodes shown in the report: the best, the middle and the worst."""


@dataclass(frozen=True)
class OfflineRecord:
    """What was measured of a run's chosen checkpoint, kept in ``offline.json``.

    Attributes:
        update: the checkpoint's update.
        held_out: errors on episodes that training never saw. training: on those it learned from.
        replays: held-out episodes, the best first.
        schema_version: version of this record.
    """

    update: int
    held_out: OfflineError
    training: OfflineError
    replays: tuple[Replay, ...] = ()
    schema_version: int = 1


@dataclass(frozen=True)
class Exam:
    """What a policy is measured on as one of its bodies.

    Attributes:
        body: its name, "" where there is one. held_out: windows never learned from. training: those learned from.
    """

    body: str
    held_out: Windows | Mixture
    training: Windows | Mixture

    def taken_by(self, policy: ChunkPolicy) -> ChunkPolicy:
        """Return the policy as it acts here."""
        return acting_as(policy, self.body)


def acting_as(policy: ChunkPolicy, body: str) -> ChunkPolicy:
    """Return a policy as one of its bodies, or as it is where it has one."""
    return cast("VLAPolicy", policy).act_as(body) if body else policy


def exams(lessons: Lessons) -> tuple[Exam, ...]:
    """Return what there is to measure on, by body."""
    each = {spec.embodiment: lessons.of_body(spec.embodiment) for spec in lessons.bodies} or {"": lessons}
    return tuple(Exam(body, some.windows(held_out=True), some.windows(held_out=False)) for body, some in each.items())


def examine(
    policy: ChunkPolicy, every: Sequence[Exam], *, tolerance: float, seed: int, held_out: bool = True
) -> OfflineError:
    """Return the errors of a policy on held-out or on training windows, of all its bodies together."""
    measure_one = partial(action_error, tolerance=tolerance, seed=seed)
    found = {
        exam.body: measure_one(exam.taken_by(policy), exam.held_out if held_out else exam.training) for exam in every
    }
    return joined(found)


class OfflineTryout:
    """Measures the acting policy on held-out episodes during training; the trainer's ``on_eval``.

    Results are kept in ``tryouts.json`` by update, those of each source of a mixture that goes by them in
    ``sources.json``.

    Args:
        config: of the run. rundir: where results go. recipe: whose acting policy is tried.
        lessons: the recordings. note: told in one line how it stands.
    """

    def __init__(
        self, config: RunConfig, rundir: RunDir, recipe: Recipe[Any], *, lessons: Lessons, note: Callable[[str], None]
    ) -> None:
        self.config, self.recipe, self.note = config, recipe, note
        self.exams, self.parts = exams(lessons), lessons.parts(held_out=True)
        self.path, self.sources = rundir.path / "tryouts.json", rundir.path / "sources.json"

    def __call__(self, update: int) -> dict[str, float]:
        """Return minus the held-out sampled-action error as "score", and what ``probe`` finds."""
        policy = cast("ChunkPolicy", self.recipe.acting())  # which ranks that share the weights gather together
        ranks = world()
        found = self._measure(policy, update) if ranks.is_main else {}
        factors = ranks.tell(self._attend(policy, update) if ranks.is_main else None)
        if factors is not None and isinstance(self.recipe, BehaviourCloning):
            self.recipe.turn_to(update, factors)
        return found

    def _measure(self, policy: ChunkPolicy, update: int) -> dict[str, float]:
        found = examine(policy, self.exams, tolerance=data_of(self.config).tolerance, seed=self.config.seed)
        known: dict[str, Any] = read_json(self.path) if self.path.exists() else {}
        known[str(update)] = configs.to_dict(found)
        write_json(self.path, {key: known[key] for key in sorted(known, key=int)})
        self.note(f"{100 * update // self.config.loop.updates} % trained, on held-out episodes: {in_words(found)}")
        execute, seed = self.config.policy.execute, self.config.seed
        first = self.exams[0]  # of several bodies one is probed
        probed = probe(first.taken_by(policy), first.training, first.held_out, execute=execute, seed=seed)
        return {"score": -found.score, **probed}

    def _attend(self, policy: ChunkPolicy, update: int) -> tuple[float, ...] | None:
        """Measure each source, where the mixture turns to what is not imitated well yet, and return their factors."""
        mix = data_of(self.config).mix
        if mix is None or not mix.success_power:
            return None
        known: dict[str, list[float]] = read_json(self.sources) if self.sources.exists() else {}
        measure_one = partial(
            action_error, tolerance=data_of(self.config).tolerance, seed=self.config.seed, frames=SOURCE_FRAMES
        )
        bodies = [part.windows.spec.embodiment if len(self.exams) > 1 else "" for part in self.parts]
        known[str(update)] = [
            measure_one(acting_as(policy, body), part.windows).accuracy
            for body, part in zip(bodies, self.parts, strict=True)
        ]
        write_json(self.sources, {key: known[key] for key in sorted(known, key=int)})
        attention = Attention(power=mix.success_power)
        for moment in sorted(int(key) for key in known if int(key) <= update):
            attention = attention.told(known[str(moment)])
        factors = attention.factors(len(self.parts))
        drawn = ", ".join(f"{part.name} x {factor:.2f}" for part, factor in zip(self.parts, factors, strict=True))
        self.note(f"from here on drawn: {drawn}")
        return factors


def in_words(found: OfflineError) -> str:
    """Return errors in one line."""
    deaf = "" if found.alignment is None else f", {deafness(found.alignment)}"
    return f"action error {100 * found.score:.2f} % of the range, {100 * found.accuracy:.0f} % of steps right{deaf}"


def error_of(score: float) -> str:
    """Return in words what ``OfflineTryout`` gives: minus an error, so that more is better."""
    return f"{-100 * score:.2f} %"


def deafness(alignment: float) -> str:
    """Return in words how the error changes under another episode's sentence."""
    change = round(100 * alignment)
    if not change:
        return "no different under another sentence"
    return f"{abs(change)} % {'worse' if change > 0 else 'better'} under another sentence"


def choose(rundir: RunDir) -> Path:
    """Return the checkpoint with the lowest held-out error, the last one where none was tried out.

    ``checkpoints/chosen`` points to it from now on: what is exported, served and measured.
    """
    name = "best" if (rundir.checkpoints / "best").is_dir() else "last"
    point_link(rundir.checkpoints / "chosen", name)
    return rundir.checkpoints / name


def measure(config: RunConfig, rundir: RunDir, lessons: Lessons) -> OfflineRecord:
    """Measure the chosen checkpoint and keep the record."""
    heading("Evaluation")
    place = choose(rundir)
    for number, spec in enumerate(lessons.bodies):
        write_body(place, number, body_path(rundir, spec))
    found = measure_policy(config, place, lessons)
    update = int(place.resolve().name)
    record = OfflineRecord(update, found["held_out"], found["training"], _replays(config, place, lessons))
    save(record, rundir.path / FILE)
    for spec in lessons.bodies:
        say(f"  to act as {spec.embodiment}: {body_path(rundir, spec)}")
    say(f"  held-out: {in_words(record.held_out)}")
    say(f"  training: {in_words(record.training)}")
    return record


def body_path(rundir: RunDir, spec: RobotSpec) -> Path:
    """Return where a run keeps its policy as one of the bodies that it learned on."""
    return rundir.path / BODIES / re.sub(r"[^\w.+-]", "-", spec.embodiment)


def measure_policy(config: RunConfig, place: Path, lessons: Lessons) -> Mapping[str, OfflineError]:
    """Return the errors of a policy directory, on held-out and on training episodes."""
    policy = VLAPolicy.from_pretrained(place, device=str(pick_device(config.device)))
    tolerance, seed, every = data_of(config).tolerance, config.seed, exams(lessons)
    return {
        name: examine(policy, every, tolerance=tolerance, seed=seed, held_out=name == "held_out")
        for name in ("held_out", "training")
    }


def measure_again(place: Path, config: RunConfig) -> None:
    """Measure a policy directory of a run on the run's recordings once more, and print the errors."""
    run = next(parent for parent in place.absolute().parents if (parent / "state.json").exists())
    found = measure_policy(config, place, lessons(config, read_in(config, run.parent)[1]))
    for name, error in found.items():
        say(f"{name.replace('_', '-')} episodes: {in_words(error)}")
        for action, unit, value in zip(error.action, error.units, error.error, strict=True):
            say(f"  {action:<16}off by {value:.4g} {unit}")


def save(record: OfflineRecord, path: Path) -> None:
    """Write a record atomically."""
    write_json(path, configs.to_dict(record))


def load(path: Path) -> OfflineRecord:
    """Read a record.

    Raises:
        DataError: the file is missing or not JSON.
        ConfigError: it holds something else.
    """
    return configs.load(OfflineRecord, path)


def _replays(config: RunConfig, place: Path, lessons: Lessons) -> tuple[Replay, ...]:
    """Return the best, the middle and the worst held-out episode."""
    policy = VLAPolicy.from_pretrained(place, device=str(pick_device(config.device)))
    every = [
        replay(exam.taken_by(policy), exam.held_out, number, seed=config.seed)
        for exam in exams(lessons)
        for number in range(exam.held_out.num_episodes)
    ]
    ordered = sorted(every, key=lambda item: item.error)
    places = np.linspace(0, len(ordered) - 1, min(REPLAYS, len(ordered))).round().astype(int)
    return tuple(ordered[place] for place in dict.fromkeys(places.tolist()))
