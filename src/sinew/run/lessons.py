"""What recordings teach: the labels they have, the policy that learns from them, and how they are mixed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.core.types import RobotSpec, Statistics
from sinew.data.config import DataConfig, MixConfig
from sinew.data.hindsight import NEXT, moved_places, next_states
from sinew.data.labels import denied, image_targets, labels_path, read
from sinew.data.layout import Record
from sinew.data.mixture import Mixture, Part
from sinew.data.stats import statistics, statistics_of
from sinew.data.store import Store
from sinew.data.stream import Stream
from sinew.data.windows import Windows
from sinew.deploy.load import checkpoint_of
from sinew.models.bodies import joint_spec
from sinew.models.config import PolicyConfig
from sinew.models.policy import VLAPolicy
from sinew.models.text_encoders import tokenizer_of
from sinew.models.transfer import Transfer, check_actions, check_body, known_words, transfer
from sinew.run.beginning import inherited
from sinew.run.parts import action_statistics, fit_head, pick_device, words_of
from sinew.run.recordings import Recorded, data_of

if TYPE_CHECKING:
    from sinew.run import RunConfig

Labels = Mapping[str, NDArray[np.float32]]
"""By name, a row for each frame of a store."""
LEAST_QUALITY = 0.01
"""Quality that the worst episodes are treated as having, so that no batch is without any weight."""
MOVED = "target"
"""Point that hindsight gives places in the images for: what an episode moves is what its sentence names."""


@dataclass(frozen=True)
class Lessons:
    """What a run learns from.

    Attributes:
        recorded: the data sets.
        policy: the run's policy with the points that there are labels for.
        labels: of each data set, see ``Windows``.
        labelled: share of training frames with a label, by point; empty where there are none.
        mix: how several data sets are mixed; None where there is one.
        quality: power of the episodes' quality in the loss; None weighs all alike.
        clicked: frames in which people said where things are, or that they are not to be seen; 0 where it is not used.
    """

    recorded: tuple[Recorded, ...]
    policy: PolicyConfig
    labels: tuple[Labels, ...]
    labelled: Mapping[str, float]
    mix: MixConfig | None = None
    clicked: int = 0
    quality: float | None = None

    @property
    def stores(self) -> tuple[Store, ...]:
        """The episodes, one store a data set."""
        return tuple(one.store for one in self.recorded)

    @property
    def bodies(self) -> tuple[RobotSpec, ...]:
        """The robots where there are several, in their order, else nothing."""
        return _bodies(self.recorded)

    @property
    def spec(self) -> RobotSpec:
        """The robot, or all of several in one."""
        return _robot(self.recorded)

    def of_body(self, name: str) -> Lessons:
        """Return what there is of one body."""
        chosen = [number for number, one in enumerate(self.recorded) if one.store.spec.embodiment == name]
        recorded, labels = (tuple(each[number] for number in chosen) for each in (self.recorded, self.labels))
        return dataclasses.replace(self, recorded=recorded, labels=labels)

    @property
    def records(self) -> list[Record]:
        """The log of all data sets, one after another."""
        return [record for one in self.recorded for record in one.numbers.records]

    @property
    def num_frames(self) -> int:
        """Frames of all data sets, held-out ones included."""
        return sum(one.numbers.num_frames for one in self.recorded)

    def splits(self) -> dict[str, dict[str, list[str]]]:
        """Return by data set the names of the episodes that are learned from and of those that are held out."""
        names = {True: "held out", False: "training"}
        splits: dict[str, dict[str, list[str]]] = {}
        for one in self.recorded:
            found = splits[one.name] = {name: [] for name in names.values()}
            for number, record in enumerate(one.numbers.records):
                found[names[record.held_out]].append(record.id or f"episode {number}")
        return splits

    def parts(self, *, held_out: bool) -> tuple[Part, ...]:
        """Return the windows of each data set."""
        cut = partial(self._cut, held_out=held_out)
        return tuple(
            Part(one.name, cut([one.store], labels=labels), one.weight, None if held_out else self._factors(one))
            for one, labels in zip(self.recorded, self.labels, strict=True)
        )

    def windows(self, *, held_out: bool) -> Windows | Mixture:
        """Return the windows to learn from, or to measure on."""
        parts = self.parts(held_out=held_out)
        if self.mix is None and (self.quality is None or held_out):
            return parts[0].windows
        mix = self.mix or MixConfig()
        power = 0.0 if held_out else mix.task_power
        return Mixture(parts, temperature=mix.temperature, stages=mix.stages, task_power=power)

    def stream(self, path: Path, *, batch: int, seed: int) -> Stream | None:
        """Return the batches to learn from where they are read in by parts, which lie at ``path`` meanwhile."""
        streamed = self.recorded[0].streamed
        if streamed is None:
            return None
        looks = NEXT in (self.policy.grounding.states or ())

        def cut(store: Store) -> Windows:
            return self._cut([store], labels={NEXT: next_states(store)} if looks else None)

        return streamed.stream(path, cut, batch=batch, seed=seed)

    def _cut(
        self, stores: Sequence[Store], *, labels: Mapping[str, NDArray[np.float32]] | None, held_out: bool = False
    ) -> Windows:
        """Return the windows that the policy learns from."""
        shape = self.policy
        windows = Windows(stores, history=shape.history, horizon=shape.horizon, held_out=held_out, labels=labels)
        return windows.remembering(shape.num_previous)

    def _factors(self, one: Recorded) -> NDArray[np.float32] | None:
        """Return what the loss of each training episode is multiplied by, (E,)."""
        if self.quality is None or one.quality is None:
            return None
        kept = [value for value, record in zip(one.quality, one.store.records, strict=True) if not record.held_out]
        return np.maximum(np.asarray(kept, dtype=np.float32), LEAST_QUALITY) ** np.float32(self.quality)


def _bodies(recorded: Sequence[Recorded]) -> tuple[RobotSpec, ...]:
    """Return the robots where there are several, in their order, else nothing."""
    found = tuple({one.store.spec.embodiment: one.store.spec for one in recorded}.values())
    return found if len(found) > 1 else ()


def _robot(recorded: Sequence[Recorded]) -> RobotSpec:
    """Return the robot, or all of several in one."""
    bodies = _bodies(recorded)
    return joint_spec(bodies) if bodies else recorded[0].store.spec


def lessons(config: RunConfig, recorded: Sequence[Recorded]) -> Lessons:
    """Return what there is to learn: the episodes, and the labels that the configuration asks for.

    Raises:
        DataError: labels are asked for and there are none, or data sets have labels of other sizes.
    """
    return dataclasses.replace(_taught_lessons(config, recorded), quality=data_of(config).quality)


def _taught_lessons(config: RunConfig, recorded: Sequence[Recorded]) -> Lessons:
    data = data_of(config)
    every, spec, kind = tuple(recorded), _robot(recorded), data.labels
    space = _alike(every, [_space(one.store) for one in every])
    if kind == "auto":
        kind = "space" if _taught(every, space) and not data.several_bodies else "hindsight"
    if kind == "none":
        return Lessons(every, _pointing(config, (), (), weight=0.0), ({},) * len(every), {}, data.mix)
    if kind == "space":
        return _lessons_in_space(config, every, space)
    images = _alike(every, [_images(one, hindsight=kind == "hindsight") for one in every])
    fits = config.init is None or (NEXT, spec.state_size) in config.policy.grounding.points
    looks = kind == "hindsight" and bool(spec.state) and fits
    labels = [
        {**known, NEXT: next_states(one.store)} if looks else known for one, known in zip(every, images, strict=True)
    ]
    found = _taught(every, labels)
    if not found and data.labels != "auto":
        raise DataError(_no_labels(data, "in any image" if kind == "image" else "that hindsight gives"))
    sizes: dict[str, int] = {NEXT: spec.state_size} if looks else {}
    sizes |= {name.removeprefix("image."): 2 for name in images[0]}
    sizes |= {name: size for name, size in config.policy.grounding.points if name in sizes}
    points = () if config.init is not None else sizes.items()
    policy = _pointing(config, points, (), states=(NEXT,) if looks else (), weight=None if found else 0.0)
    return Lessons(every, policy, tuple(labels), found, data.mix, sum(map(_num_clicked, every)))


def _lessons_in_space(config: RunConfig, every: tuple[Recorded, ...], space: Sequence[Labels]) -> Lessons:
    data, found = data_of(config), _taught(every, space)
    if not found:
        raise DataError(_no_labels(data, "in space"))
    policy = _pointing(config, [(name, space[0][name].shape[1]) for name in found], tuple(found))
    return Lessons(every, policy, tuple(space), found, data.mix)


def _alike(every: Sequence[Recorded], labels: Sequence[Labels]) -> list[dict[str, NDArray[np.float32]]]:
    """Return the labels of each data set under the names of all, NaN where one has none.

    Raises:
        DataError: a name stands for another number of values elsewhere.
    """
    sizes: dict[str, int] = {}
    for one, known in zip(every, labels, strict=True):
        for name, rows in known.items():
            if sizes.setdefault(name, rows.shape[1]) != rows.shape[1]:
                raise DataError(
                    f"{one.path}: label {name} has {rows.shape[1]} values, in another data set {sizes[name]}. "
                    "Record both from the same world, or train without: --data.labels none"
                )
    return [
        {
            name: known[name] if name in known else np.full((one.store.num_frames, size), np.nan, dtype=np.float32)
            for name, size in sizes.items()
        }
        for one, known in zip(every, labels, strict=True)
    ]


def _images(one: Recorded, *, hindsight: bool) -> dict[str, NDArray[np.float32]]:
    """Return places in the images: where people clicked, and with hindsight, for other frames, what was moved.

    Where they said that the point is hidden or that the sentence names none, hindsight has no say.
    """
    if one.streamed is not None:  # what hindsight sees in images it sees in all of them together
        return {}
    path = labels_path(one.path)
    clicked = image_targets(one.store, path) if path.exists() else {}
    if not hindsight:
        return clicked
    name = f"image.{MOVED}"
    moved = np.where(denied(one.store, path, MOVED), np.nan, moved_places(one.store)).astype(np.float32)
    both = np.where(np.isfinite(clicked[name]), clicked[name], moved) if name in clicked else moved
    return {**clicked, name: both} if np.isfinite(both).any() else clicked


def _num_clicked(one: Recorded) -> int:
    """Return in how many frames people said something that is used."""
    if one.streamed is not None:
        return 0
    return len({(label.episode, label.frame) for label in read(labels_path(one.path)).values()})


def _space(store: Store) -> dict[str, NDArray[np.float32]]:
    return {name: np.asarray(store.column(f"targets.{name}")) for name, size in store.target_sizes.items() if size}


def _no_labels(data: DataConfig, where: str) -> str:
    first = data.sources[0].path
    return (
        f"{data.said}: has no labels {where} of a training episode. Click some (sinew data label {first}), "
        "or train without: --data.labels none"
    )


def build(config: RunConfig, lessons: Lessons) -> tuple[VLAPolicy, Transfer | None]:
    """Return a policy that knows the recordings' words and statistics, and what it took from another one.

    Raises:
        SpecError: the weights to begin with are of another robot.
        CheckpointError: there are none, or none fits.
    """
    init = config.init
    source = None if init is None else VLAPolicy.from_pretrained(checkpoint_of(Path(init.path)))
    if init is not None and source is not None and not init.other_robot:
        check_body(source.spec, lessons.spec, init.path)
        check_actions(source.config, lessons.policy, init.path)
    torch.manual_seed(config.seed)
    sentences = {record.instruction for record in lessons.records if not record.held_out}
    sentences |= set(known_words(source.tokenizer)) if source is not None else set[str]()
    sentences |= words_of(config)
    known = inherited(init, lessons.policy)
    tokenizer, blueprints = known or (tokenizer_of(lessons.policy.language, sentences), None)
    policy = VLAPolicy(lessons.policy, lessons.bodies or lessons.spec, tokenizer, blueprints)
    fit(policy, lessons, source)
    taken = None
    if init is not None and source is not None:
        taken = transfer(source, policy, perception_only=init.other_robot)
    return policy.to(pick_device(config.device)), taken


def fit(policy: VLAPolicy, lessons: Lessons, source: VLAPolicy | None = None) -> None:
    """Let a policy know the statistics of recordings; of points without labels those of ``source``, or neutral ones."""
    each = [lessons.of_body(spec.embodiment) for spec in lessons.bodies]
    policy.fit_normalizer(_statistics(lessons, source), [_own_statistics(one) for one in each])
    fit_head(policy, *([one.numbers for one in some.recorded] for some in each or [lessons]))


def _statistics(lessons: Lessons, source: VLAPolicy | None) -> dict[str, Statistics]:
    """Return the statistics of the recordings; for points without labels those of the other policy, or neutral ones.

    Those of state and action are left out where there are several bodies: they are never pooled.
    """
    found = {} if lessons.bodies else _own_statistics(lessons)
    for name, size in lessons.policy.grounding.points:
        if name in lessons.labelled and not (lessons.bodies and name == NEXT):  # which bodies scale as their states
            found[f"targets.{name}"] = statistics_of(_rows_of(lessons, name))
            continue
        mean, std = np.zeros(size, np.float32), np.ones(size, np.float32)
        if source is not None and dict(source.config.grounding.points).get(name) == size:
            mean = source.normalizer.get_buffer(f"targets_{name}_mean").numpy()
            std = source.normalizer.get_buffer(f"targets_{name}_std").numpy()
        found[f"targets.{name}"] = Statistics(mean, std, mean - std, mean + std, mean - std, mean + std, 0)
    return found


def _own_statistics(lessons: Lessons) -> dict[str, Statistics]:
    """Return those of state and action of one body."""
    stores = [one.numbers for one in lessons.recorded]
    return {**statistics(stores, targets=()), **action_statistics(lessons.policy, stores)}


def _rows_of(lessons: Lessons, name: str) -> NDArray[np.float32]:
    """Return the labels of one name in all training frames."""
    streamed = lessons.recorded[0].streamed
    if streamed is None:
        return _training(lessons.recorded, lessons.labels, name)
    store = streamed.numbers
    return (next_states(store) if name == NEXT else np.asarray(store.column(f"targets.{name}")))[_learned(store)]


def _pointing(
    config: RunConfig,
    points: Iterable[tuple[str, int]],
    coordinates: tuple[str, ...],
    *,
    states: tuple[str, ...] = (),
    weight: float | None = None,
) -> PolicyConfig:
    """Return the run's policy with these points added to those it has, and what they are taught."""
    old = config.policy.grounding
    changed = dataclasses.replace(
        old,
        points=tuple({**dict(old.points), **dict(points)}.items()),
        weight=old.weight if weight is None else weight,
        coordinates=coordinates,
        states=states or None,
    )
    return dataclasses.replace(config.policy, grounding=changed)


def _taught(every: Sequence[Recorded], labels: Sequence[Labels]) -> dict[str, float]:
    """Return the share of training frames that have a label, by name, of those names that have any."""
    shares: dict[str, float] = {}
    for name in labels[0]:
        known = [
            np.isfinite(_training([one], [rows], name)).any(axis=1) for one, rows in zip(every, labels, strict=True)
        ]
        shares[name] = float(np.concatenate(known).mean())
    return {name: share for name, share in shares.items() if share > 0}


def _training(every: Sequence[Recorded], labels: Sequence[Labels], name: str) -> NDArray[np.float32]:
    """Return the labels of one name in the training frames of all data sets."""
    return np.concatenate([known[name][_learned(one.store)] for one, known in zip(every, labels, strict=True)])


def _learned(store: Store) -> NDArray[np.bool_]:
    return np.repeat([not record.held_out for record in store.records], [record.frames for record in store.records])
