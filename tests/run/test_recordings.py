"""Recordings as lessons: what is read in, which labels there are, what is begun with, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from sinew.core.errors import CheckpointError, ConfigError, DataError, SpecError
from sinew.core.types import RobotSpec
from sinew.data.config import DataConfig, IngestConfig
from sinew.data.episode import Episode
from sinew.data.formats.hdf5 import Hdf5
from sinew.data.labels import Label, append, labels_path
from sinew.data.store import Store
from sinew.presets.bc import preset
from sinew.run import InitConfig, RunConfig
from sinew.run.recordings import build, lessons, read_in
from toy import ToyConfig
from toy_data import random_episode

SPEC = ToyConfig(size=16).spec


def episodes(count: int = 6, *, spec: RobotSpec = SPEC, **changes: object) -> list[Episode]:
    """Return episodes whose images are noise, of the toy's robot."""
    made: list[Episode] = []
    for number in range(count):
        images = np.random.default_rng(number).integers(0, 256, (5, 3, 16, 16), dtype=np.uint8)
        one = random_episode(number, 5, spec=spec, images={"front": images}, targets={}, instruction="go left")
        made.append(dataclasses.replace(one, **changes))
    return made


def recorded(path: Path, *, labelled: bool = False, **changes: object) -> Path:
    """Write a store and return its path."""
    store = Store.create(path / "store", SPEC, ("goal",) if labelled else ())
    every = episodes(**changes)
    if labelled:
        every = [dataclasses.replace(one, targets={"goal": np.ones((5, 1), np.float32)}) for one in every]
    store.append(every)
    store.unlock()
    return store.path


def config(path: Path, **data: object) -> RunConfig:
    """Return the preset at its smallest on a data set."""
    return dataclasses.replace(preset("tiny"), data=dataclasses.replace(DataConfig(path=str(path)), **data))


def test_a_store_without_a_split_gets_one_that_the_fingerprint_knows(tmp_path: Path) -> None:
    path = recorded(tmp_path)
    known, store = read_in(config(path), tmp_path)
    assert sum(record.held_out for record in store.records) == 1
    assert known.data is not None
    assert known.data.fingerprint
    again, _ = read_in(config(path, ingest=IngestConfig(held_out=0.5)), tmp_path)
    assert again.data is not None
    assert again.data.fingerprint != known.data.fingerprint


def test_a_new_click_is_other_data(tmp_path: Path) -> None:
    path = recorded(tmp_path)
    before, store = read_in(config(path), tmp_path)
    append(labels_path(path), [Label(store.records[0].id, 0, "target", "front", "seen", (0.5, 0.5))])
    after, _ = read_in(config(path), tmp_path)
    assert before.data is not None
    assert after.data is not None
    assert before.data.fingerprint != after.data.fingerprint


def test_large_images_are_scaled_and_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = ToyConfig(size=200).spec
    images = {"front": np.zeros((5, 3, 200, 200), np.uint8)}
    Hdf5.write(tmp_path / "log.hdf5", episodes(3, spec=spec, images=images))
    _, store = read_in(config(tmp_path / "log.hdf5"), tmp_path)
    assert (store.spec.cameras["front"].height, store.spec.cameras["front"].width) == (128, 128)
    assert "images of 200 x 200 are scaled to 128 x 128" in capsys.readouterr().out


def test_recorded_coordinates_teach_before_anything_else(tmp_path: Path) -> None:
    known, store = read_in(config(recorded(tmp_path, labelled=True)), tmp_path)
    found = lessons(known, store)
    assert found.labelled == {"goal": 1.0}
    assert ("goal", 1) in found.policy.grounding.points
    assert found.policy.grounding.coordinates == ("goal",)
    assert found.windows(held_out=False).gather(np.array([0])).targets["goal"].tolist() == [[1.0]]


def test_hindsight_teaches_the_next_state_and_clicks_teach_places(tmp_path: Path) -> None:
    path = recorded(tmp_path)
    store = Store.open(path)
    append(labels_path(path), [Label(one.id, 1, "target", "front", "seen", (0.25, 0.5)) for one in store.records])
    known, store = read_in(config(path), tmp_path)
    found = lessons(known, store)
    assert found.policy.grounding.points == (("target", 3), ("next", SPEC.state_size))
    assert (found.policy.grounding.coordinates, found.policy.grounding.states) == ((), ("next",))
    assert set(found.labelled) == {"next", "image.target"}
    policy, taken = build(known, found)
    assert taken is None
    batch = found.windows(held_out=False).gather(np.arange(5)).map(torch.from_numpy)
    assert batch.targets["image.target"][1].tolist() == [0.25, 0.5]
    losses = policy.losses(batch)
    assert losses["grounding"].isfinite().all()
    assert policy.points() == {}


def test_clicks_alone_leave_the_rest_to_the_policy(tmp_path: Path) -> None:
    path = recorded(tmp_path)
    append(labels_path(path), [Label(Store.open(path).records[0].id, 0, "cup", "front", "seen", (0.5, 0.5))])
    known, store = read_in(config(path, labels="image"), tmp_path)
    found = lessons(known, store)
    assert found.policy.grounding.points == (("target", 3), ("cup", 2))
    assert set(found.labels) == {"image.cup"}


def test_without_labels_the_pointers_learn_alone(tmp_path: Path) -> None:
    known, store = read_in(config(recorded(tmp_path), labels="none"), tmp_path)
    found = lessons(known, store)
    assert (found.policy.grounding.weight, found.labels) == (0.0, {})
    policy, _ = build(known, found)
    batch = found.windows(held_out=False).gather(np.arange(5)).map(torch.from_numpy)
    assert set(policy.losses(batch)) == {"action"}


def test_weights_to_begin_with_bring_their_words(tmp_path: Path) -> None:
    known, store = read_in(config(recorded(tmp_path)), tmp_path)
    first, _ = build(known, lessons(known, store))
    first.save_pretrained(_directory(tmp_path / "checkpoint"))
    other = recorded(tmp_path / "other", instruction="hurry up")
    begun = dataclasses.replace(
        config(other), policy=first.config, init=InitConfig(str(tmp_path / "checkpoint")), seed=1
    )
    begun, store = read_in(begun, tmp_path)
    policy, taken = build(begun, lessons(begun, store))
    assert taken is not None
    assert (taken.fresh, taken.new_words) == ((), ("hurry", "up"))
    assert policy.config.grounding == first.config.grounding
    assert {"go", "left", "hurry", "up"} <= set(policy.tokenizer.get_vocab())
    state = policy.normalizer.get_buffer("state_mean")
    assert torch.allclose(state, torch.from_numpy(store.column("state")[: 5 * 5].mean(axis=0)), rtol=0.3)


def test_weights_of_another_robot_are_refused_unless_asked_for(tmp_path: Path) -> None:
    known, store = read_in(config(recorded(tmp_path)), tmp_path)
    policy, _ = build(known, lessons(known, store))
    policy.save_pretrained(_directory(tmp_path / "checkpoint"))
    spec = dataclasses.replace(SPEC, embodiment="crane", state_units=("rad", "rad"))
    Hdf5.write(tmp_path / "crane.hdf5", episodes(spec=spec))
    begun = dataclasses.replace(
        config(tmp_path / "crane.hdf5"), policy=policy.config, init=InitConfig(str(tmp_path / "checkpoint"))
    )
    begun, store = read_in(begun, tmp_path)
    with pytest.raises(SpecError, match=r"another robot[\s\S]*state_units[\s\S]*--init\.other-robot True"):
        build(begun, lessons(begun, store))
    eyes = dataclasses.replace(begun, init=InitConfig(str(tmp_path / "checkpoint"), other_robot=True))
    _, taken = build(eyes, lessons(eyes, store))
    assert taken is not None
    assert ("state_units", "('m', 'm')", "('rad', 'rad')") in taken.spec


@pytest.mark.parametrize(
    ("said", "changes", "data"),
    [
        ("the instruction is empty in 6 of 6 episodes", {"instruction": ""}, {}),
        ("holds 1 episodes; at least 2", {"count": 1}, {}),
        ("has no labels in space", {}, {"labels": "space"}),
        ("has no labels in any image", {}, {"labels": "image"}),
        ("leaves no episode to measure on", {}, {"ingest": IngestConfig(held_out=0.0)}),
    ],
)
def test_what_cannot_be_learned_from_is_refused(
    said: str, changes: dict[str, object], data: dict[str, object], tmp_path: Path
) -> None:
    def learn() -> None:
        known, store = read_in(config(recorded(tmp_path, **changes), **data), tmp_path)
        lessons(known, store)

    with pytest.raises((ConfigError, DataError), match=said):
        learn()


def test_one_sentence_can_stand_for_silence(tmp_path: Path) -> None:
    path = recorded(tmp_path, instruction="")
    _, store = read_in(config(path, ingest=IngestConfig(instruction="lift it")), tmp_path)
    assert {record.instruction for record in store.records} == {"lift it"}


def test_numbers_without_units_are_refused(tmp_path: Path) -> None:
    spec = dataclasses.replace(SPEC, state_units=("m", ""))
    store = Store.create(tmp_path / "store", spec)
    store.append(episodes(spec=spec))
    store.unlock()
    with pytest.raises(DataError, match="every state and action value needs a name and a unit"):
        read_in(config(tmp_path / "store"), tmp_path)


def test_no_recordings_named_is_a_question_back() -> None:
    with pytest.raises(ConfigError, match="Name your recordings: sinew train bc --data PATH"):
        read_in(preset("tiny"), Path())


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    begun = dataclasses.replace(config(recorded(tmp_path)), init=InitConfig(str(tmp_path / "nowhere")))
    begun, store = read_in(begun, tmp_path)
    with pytest.raises(CheckpointError, match="nowhere: no such directory"):
        build(begun, lessons(begun, store))


def _directory(path: Path) -> Path:
    path.mkdir()
    return path
