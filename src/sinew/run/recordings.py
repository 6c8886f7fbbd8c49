"""Recordings as lessons: reads a data set in, finds what labels it has, and builds the policy that learns from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from sinew.core.config import digest, to_dict
from sinew.core.errors import ConfigError, DataError
from sinew.core.types import Statistics
from sinew.data.config import DataConfig
from sinew.data.formats.ingest import held_out, open_dataset, open_source
from sinew.data.hindsight import NEXT, moved_places, next_states
from sinew.data.labels import image_targets, labels_path
from sinew.data.reading import Reading
from sinew.data.stats import statistics, statistics_of
from sinew.data.store import Store
from sinew.data.windows import Windows
from sinew.deploy.load import checkpoint_of
from sinew.models.config import PolicyConfig
from sinew.models.language import train_tokenizer
from sinew.models.policy import VLAPolicy
from sinew.models.transfer import Transfer, check_body, known_words, transfer
from sinew.run.parts import pick_device
from sinew.run.screen import counting, say

if TYPE_CHECKING:
    from sinew.run import RunConfig

MOVED = "target"
"""Point that hindsight gives places in the images for: what an episode moves is what its sentence names."""
LARGEST_IMAGE = 128
"""Longer side that images are scaled to where nobody says a size [px]; what a laptop trains on in minutes."""


@dataclass(frozen=True)
class Lessons:
    """What a run learns from.

    Attributes:
        store: the episodes.
        policy: the run's policy with the points that there are labels for.
        labels: see ``Windows``.
        labelled: share of training frames with a label, by point; empty where there are none.
    """

    store: Store
    policy: PolicyConfig
    labels: Mapping[str, NDArray[np.float32]]
    labelled: Mapping[str, float]

    def windows(self, *, held_out: bool) -> Windows:
        """Return the windows to learn from, or to measure on."""
        history, horizon = self.policy.history, self.policy.horizon
        return Windows([self.store], history=history, horizon=horizon, held_out=held_out, labels=self.labels)


def data_of(config: RunConfig) -> DataConfig:
    """Return where the recordings of a run are.

    Raises:
        ConfigError: nobody said.
    """
    if config.data is None or not config.data.path:
        raise ConfigError(
            f"Name your recordings: sinew train {config.name} --data PATH. What can be read: docs/formats.md"
        )
    return config.data


def read_in(config: RunConfig, root: Path) -> tuple[RunConfig, Store]:
    """Read a run's recordings in, the first time, and return the store and the configuration that knows their content.

    Raises:
        DataError: they are damaged, have no instruction, or are too few to hold one out.
        SpecError: what is said of the robot contradicts them.
    """
    data = data_of(config)
    path = Path(data.path)
    sized = dataclasses.replace(data.ingest, image_size=data.ingest.image_size or _image_size(path))
    with counting("episodes") as count:
        store = open_dataset(path, into=root / "data", config=sized, on_progress=count)
    _read_log(store, data)
    _check_spec(store)
    records = [[record.crc, record.held_out, record.instruction] for record in store.records]
    labels = labels_path(path)
    clicks = labels.read_text(encoding="utf-8") if labels.exists() else ""
    known = dataclasses.replace(data, fingerprint=digest(to_dict(store.spec), records, clicks))
    return dataclasses.replace(config, data=known), store


def lessons(config: RunConfig, store: Store) -> Lessons:
    """Return what there is to learn: the episodes, and the labels that the configuration asks for.

    Raises:
        DataError: labels are asked for and there are none.
    """
    data = data_of(config)
    kind = data.labels
    if kind == "auto":
        kind = "space" if _taught(_space(store), store) else "hindsight"
    if kind == "none":
        return Lessons(store, _pointing(config, (), (), weight=0.0), {}, {})
    if kind == "space":
        return _lessons_in_space(config, store)
    images = _images(store, data, hindsight=kind == "hindsight")
    fits = config.init is None or (NEXT, store.spec.state_size) in config.policy.grounding.points
    states = {NEXT: next_states(store)} if kind == "hindsight" and store.spec.state and fits else {}
    found = _taught({**images, **states}, store)
    if not found and data.labels != "auto":
        raise DataError(_no_labels(data, "in any image" if kind == "image" else "that hindsight gives"))
    sizes: dict[str, int] = {name: rows.shape[1] for name, rows in states.items()}
    sizes |= {name.removeprefix("image."): 2 for name in images}
    sizes |= {name: size for name, size in config.policy.grounding.points if name in sizes}
    points = () if config.init is not None else sizes.items()
    policy = _pointing(config, points, (), states=tuple(states), weight=None if found else 0.0)
    return Lessons(store, policy, {**images, **states}, found)


def _lessons_in_space(config: RunConfig, store: Store) -> Lessons:
    space = _space(store)
    found = _taught(space, store)
    if not found:
        raise DataError(_no_labels(data_of(config), "in space"))
    policy = _pointing(config, [(name, space[name].shape[1]) for name in found], tuple(found))
    return Lessons(store, policy, space, found)


def _images(store: Store, data: DataConfig, *, hindsight: bool) -> dict[str, NDArray[np.float32]]:
    """Return places in the images: where people clicked, and with hindsight, for other frames, what was moved."""
    path = labels_path(Path(data.path))
    clicked = image_targets(store, path) if path.exists() else {}
    if not hindsight:
        return clicked
    name = f"image.{MOVED}"
    moved = moved_places(store)
    both = np.where(np.isfinite(clicked[name]), clicked[name], moved) if name in clicked else moved
    return {**clicked, name: both} if np.isfinite(both).any() else clicked


def _space(store: Store) -> dict[str, NDArray[np.float32]]:
    return {name: store.column(f"targets.{name}") for name, size in store.target_sizes.items() if size}


def _no_labels(data: DataConfig, where: str) -> str:
    return (
        f"{data.path}: has no labels {where} of a training episode. Click some (sinew data label {data.path}), "
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
        check_body(source.spec, lessons.store.spec, init.path)
    torch.manual_seed(config.seed)
    sentences = {record.instruction for record in lessons.store.records if not record.held_out}
    sentences |= set(known_words(source.tokenizer)) if source is not None else set[str]()
    policy = VLAPolicy(lessons.policy, lessons.store.spec, train_tokenizer(sentences))
    policy.fit_normalizer(_statistics(lessons, source))
    taken = None
    if init is not None and source is not None:
        taken = transfer(source, policy, perception_only=init.other_robot)
    return policy.to(pick_device(config.device)), taken


def _statistics(lessons: Lessons, source: VLAPolicy | None) -> dict[str, Statistics]:
    """Return the statistics of the recordings; for points without labels those of the other policy, or neutral ones."""
    found = statistics([lessons.store], targets=())
    training = _training_frames(lessons.store)
    for name, size in lessons.policy.grounding.points:
        if name in lessons.labelled:
            found[f"targets.{name}"] = statistics_of(lessons.labels[name][training])
            continue
        mean, std = np.zeros(size, np.float32), np.ones(size, np.float32)
        if source is not None and dict(source.config.grounding.points).get(name) == size:
            mean = source.normalizer.get_buffer(f"targets_{name}_mean").numpy()
            std = source.normalizer.get_buffer(f"targets_{name}_std").numpy()
        found[f"targets.{name}"] = Statistics(mean, std, mean - std, mean + std, mean - std, mean + std, 0)
    return found


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


def _taught(labels: Mapping[str, NDArray[np.float32]], store: Store) -> dict[str, float]:
    """Return the share of training frames that have a label, by name, of those names that have any."""
    training = _training_frames(store)
    shares = {name: float(np.isfinite(rows[training]).any(axis=1).mean()) for name, rows in labels.items()}
    return {name: share for name, share in shares.items() if share > 0}


def _training_frames(store: Store) -> NDArray[np.bool_]:
    return np.repeat([not record.held_out for record in store.records], [record.frames for record in store.records])


def _read_log(store: Store, data: DataConfig) -> None:
    """Hold episodes out and give silent ones a sentence, where the store does not do so itself."""
    records = store.records
    if len(records) < 2:
        raise DataError(
            f"{data.path}: holds {len(records)} episodes; at least 2 are needed: one to learn from, one to measure on."
        )
    chosen = None
    kept = sum(record.held_out for record in records)
    if kept in (0, len(records)):
        chosen = held_out([record.task for record in records], data.ingest.held_out)
    if chosen is not None and not chosen:
        raise ConfigError(
            f"--data.ingest.held-out {data.ingest.held_out:g}: leaves no episode to measure on. Ask for more than 0."
        )
    store.read_as(Reading(chosen, data.ingest.instruction or ""))
    silent = sum(not record.instruction.strip() for record in store.records)
    if silent:
        raise DataError(
            f"{data.path}: the instruction is empty in {silent} of {len(records)} episodes. Write what each shows, "
            'or give one sentence for all of them: --instruction "pick up the part".'
        )


def _check_spec(store: Store) -> None:
    """Refuse a robot whose numbers have no names or no units.

    Raises:
        DataError: with what is missing.
    """
    spec = store.spec
    columns = {"state": (spec.state, spec.state_units), "action": (spec.action, spec.action_units)}
    wrong = [
        f"{what}: names {list(names)}, units {list(units)}"
        for what, (names, units) in columns.items()
        if len(names) != len(units) or not all(name.strip() for name in (*names, *units))
    ]
    if wrong or not spec.action:
        raise DataError(
            f"{store.path / 'spec.json'}: every state and action value needs a name and a unit; found "
            f"{'; '.join(wrong) or 'no action'}. Correct the file."
        )


def _image_size(path: Path) -> tuple[int, int] | None:
    """Return the size to scale images to, or None where they are small and alike; says what it does."""
    if (path / "store.json").exists() or not path.exists():
        return None
    sizes = list(open_source(path).facts.cameras.values())
    longest = max((max(size) for size in sizes), default=0)
    if longest <= LARGEST_IMAGE and len(set(sizes)) <= 1:
        return None
    height, width = sizes[0]
    scale = min(1.0, LARGEST_IMAGE / max(height, width))
    size = (8 * max(1, round(height * scale / 8)), 8 * max(1, round(width * scale / 8)))
    seen = ", ".join(f"{height} x {width}" for height, width in sorted(set(sizes)))
    say(f"  images of {seen} are scaled to {size[0]} x {size[1]}; another size: --data.ingest.image-size H W")
    return size
