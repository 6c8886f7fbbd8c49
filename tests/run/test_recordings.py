"""Recordings as lessons: what is read in, which labels there are, what is begun with, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sinew.core.config import to_dict
from sinew.core.errors import CheckpointError, ConfigError, DataError, SpecError
from sinew.core.types import RobotSpec
from sinew.data.config import AugmentConfig, DataConfig, IngestConfig, MixConfig, PhraseConfig, SourceConfig
from sinew.data.episode import Episode
from sinew.data.formats.hdf5 import Hdf5
from sinew.data.formats.lerobot import LeRobot
from sinew.data.labels import Label, append, labels_path
from sinew.data.mask import Mask, Part, mask_path, write_mask
from sinew.data.mixture import Mixture, table
from sinew.data.store import Store
from sinew.presets.bc import preset
from sinew.recipes.config import BcConfig
from sinew.run import InitConfig, RunConfig
from sinew.run.cloning import describe
from sinew.run.lessons import build, lessons
from sinew.run.parts import check_labels, run_path
from sinew.run.recordings import read_in
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
    known, recordings = read_in(config(path), tmp_path)
    assert sum(record.held_out for record in recordings[0].store.records) == 1
    assert known.data is not None
    assert known.data.fingerprint
    again, _ = read_in(config(path, ingest=IngestConfig(held_out=0.5)), tmp_path)
    assert again.data is not None
    assert again.data.fingerprint != known.data.fingerprint


def test_a_new_click_is_other_data(tmp_path: Path) -> None:
    path = recorded(tmp_path)
    before, recordings = read_in(config(path), tmp_path)
    append(labels_path(path), [Label(recordings[0].store.records[0].id, 0, "target", "front", "seen", (0.5, 0.5))])
    after, _ = read_in(config(path), tmp_path)
    assert before.data is not None
    assert after.data is not None
    assert before.data.fingerprint != after.data.fingerprint


def test_large_images_are_scaled_and_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = ToyConfig(size=200).spec
    images = {"front": np.zeros((5, 3, 200, 200), np.uint8)}
    Hdf5.write(tmp_path / "log.hdf5", episodes(3, spec=spec, images=images))
    _, recordings = read_in(config(tmp_path / "log.hdf5"), tmp_path)
    camera = recordings[0].store.spec.cameras["front"]
    assert (camera.height, camera.width) == (128, 128)
    assert "images of 200 x 200 are scaled to 128 x 128" in capsys.readouterr().out


def test_large_images_of_a_data_set_named_as_on_the_hub_are_scaled_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ToyConfig(size=200).spec
    images = {"front": np.zeros((5, 3, 200, 200), np.uint8)}
    LeRobot.write(tmp_path / "me" / "demos", episodes(3, spec=spec, images=images), storage="image")
    monkeypatch.setenv("HF_LEROBOT_HOME", str(tmp_path))
    _, recordings = read_in(config(Path("me/demos")), tmp_path)
    assert recordings[0].store.spec.cameras["front"].height == 128


def test_recorded_coordinates_teach_before_anything_else(tmp_path: Path) -> None:
    known, recordings = read_in(config(recorded(tmp_path, labelled=True)), tmp_path)
    found = lessons(known, recordings)
    assert found.labelled == {"goal": 1.0}
    assert ("goal", 1) in found.policy.grounding.points
    assert found.policy.grounding.coordinates == ("goal",)
    assert found.windows(held_out=False).gather(np.array([0])).targets["goal"].tolist() == [[1.0]]


def test_hindsight_teaches_the_next_state_and_clicks_teach_places(tmp_path: Path) -> None:
    path = recorded(tmp_path)
    store = Store.open(path)
    append(labels_path(path), [Label(one.id, 1, "target", "front", "seen", (0.25, 0.5)) for one in store.records])
    known, recordings = read_in(config(path), tmp_path)
    found = lessons(known, recordings)
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


def test_hindsight_is_silent_where_a_person_saw_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = recorded(tmp_path)
    store = Store.open(path)
    places = np.full((store.num_frames, 2), 0.5, np.float32)  # the images are noise, in which nothing is found
    monkeypatch.setattr("sinew.run.lessons.moved_places", lambda _store: places)
    first = store.records[0].id
    hidden = Label(first, 2, "target", "front", "hidden")
    append(labels_path(path), [hidden, Label(first, 4, "target", "front", "seen", (0.25, 0.5))])
    known, recordings = read_in(config(path), tmp_path)
    found = lessons(known, recordings)
    assert np.isnan(found.labels[0]["image.target"][:5, 0]).tolist() == [False, False, True, True, False]
    assert found.labels[0]["image.target"][4].tolist() == [0.25, 0.5]
    assert "2 clicked frames are used" in describe(found)
    append(labels_path(path), [Label(first, 0, "target", "front", "none")])  # all episodes have this sentence
    found = lessons(known, recordings)
    assert np.flatnonzero(np.isfinite(found.labels[0]["image.target"][:, 0])).tolist() == [4]


def test_clicks_alone_leave_the_rest_to_the_policy(tmp_path: Path) -> None:
    path = recorded(tmp_path)
    append(labels_path(path), [Label(Store.open(path).records[0].id, 0, "cup", "front", "seen", (0.5, 0.5))])
    known, recordings = read_in(config(path, labels="image"), tmp_path)
    found = lessons(known, recordings)
    assert found.policy.grounding.points == (("target", 3), ("cup", 2))
    assert set(found.labels[0]) == {"image.cup"}


def test_without_labels_the_pointers_learn_alone(tmp_path: Path) -> None:
    known, recordings = read_in(config(recorded(tmp_path), labels="none"), tmp_path)
    found = lessons(known, recordings)
    assert (found.policy.grounding.weight, found.labels) == (0.0, ({},))
    policy, _ = build(known, found)
    batch = found.windows(held_out=False).gather(np.arange(5)).map(torch.from_numpy)
    assert set(policy.losses(batch)) == {"action"}


def test_weights_to_begin_with_bring_their_words(tmp_path: Path) -> None:
    known, recordings = read_in(config(recorded(tmp_path)), tmp_path)
    first, _ = build(known, lessons(known, recordings))
    first.save_pretrained(_directory(tmp_path / "checkpoint"))
    other = recorded(tmp_path / "other", instruction="hurry up")
    begun = dataclasses.replace(
        config(other), policy=first.config, init=InitConfig(str(tmp_path / "checkpoint")), seed=1
    )
    begun, recordings = read_in(begun, tmp_path)
    policy, taken = build(begun, lessons(begun, recordings))
    assert taken is not None
    assert (taken.fresh, taken.new_words) == ((), ("hurry", "up"))
    assert policy.config.grounding == first.config.grounding
    assert {"go", "left", "hurry", "up"} <= set(policy.tokenizer.get_vocab())
    state = policy.normalizer.get_buffer("state_mean")
    assert torch.allclose(state, torch.from_numpy(recordings[0].store.column("state")[: 5 * 5].mean(axis=0)), rtol=0.3)


def test_weights_of_another_robot_are_refused_unless_asked_for(tmp_path: Path) -> None:
    known, recordings = read_in(config(recorded(tmp_path)), tmp_path)
    policy, _ = build(known, lessons(known, recordings))
    policy.save_pretrained(_directory(tmp_path / "checkpoint"))
    spec = dataclasses.replace(SPEC, embodiment="crane", state_units=("rad", "rad"))
    Hdf5.write(tmp_path / "crane.hdf5", episodes(spec=spec))
    begun = dataclasses.replace(
        config(tmp_path / "crane.hdf5"), policy=policy.config, init=InitConfig(str(tmp_path / "checkpoint"))
    )
    stores = list((tmp_path / "data").glob("*"))
    with pytest.raises(SpecError, match=r"another robot[\s\S]*state_units[\s\S]*--init\.other-robot True"):
        read_in(begun, tmp_path)
    assert list((tmp_path / "data").glob("*")) == stores  # nothing was read in for nothing
    eyes = dataclasses.replace(begun, init=InitConfig(str(tmp_path / "checkpoint"), other_robot=True))
    eyes, recordings = read_in(eyes, tmp_path)
    _, taken = build(eyes, lessons(eyes, recordings))
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
        known, recordings = read_in(config(recorded(tmp_path, **changes), **data), tmp_path)
        lessons(known, recordings)

    with pytest.raises((ConfigError, DataError), match=said):
        learn()


def test_one_sentence_can_stand_for_silence(tmp_path: Path) -> None:
    path = recorded(tmp_path, instruction="")
    _, recordings = read_in(config(path, ingest=IngestConfig(instruction="lift it")), tmp_path)
    assert {record.instruction for record in recordings[0].store.records} == {"lift it"}


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
    with pytest.raises(CheckpointError, match="nowhere: no such directory"):
        read_in(begun, tmp_path)


def mixed(*paths: Path, **mix: object) -> RunConfig:
    """Return the preset at its smallest on several data sets."""
    sources = tuple(SourceConfig(str(path), weight=1.0 + number) for number, path in enumerate(paths))
    return dataclasses.replace(preset("tiny"), data=DataConfig(mix=MixConfig(sources, **mix)))


def test_several_data_sets_are_one_mixture_with_the_labels_of_each(tmp_path: Path) -> None:
    first, second = recorded(tmp_path), recorded(tmp_path / "second", instruction="go right")
    append(labels_path(second), [Label(Store.open(second).records[0].id, 0, "cup", "front", "seen", (0.5, 0.25))])
    known, recordings = read_in(mixed(first, second, task_power=1.0), tmp_path)
    assert known.data is not None
    assert known.data.mix is not None
    assert [len(source.fingerprint) for source in known.data.sources] == [8, 8]
    assert [one.name for one in recordings] == ["store", "store#2"]
    found = lessons(known, recordings)
    policy, _ = build(known, found)
    assert {"left", "right"} <= set(policy.tokenizer.get_vocab())
    windows = found.windows(held_out=False)
    state = np.concatenate([windows.gather(np.arange(windows.num_frames)).obs.state[:, -1]])
    np.testing.assert_allclose(policy.normalizer.get_buffer("state_mean").numpy(), state.mean(axis=0), rtol=1e-4)
    batch = windows.gather(np.array([0, 25, 26]))
    assert batch.source == ("store", "store#2", "store#2")
    places = batch.targets["image.cup"]
    assert np.isnan(places[0]).all()
    assert [0.5, 0.25] in found.windows(held_out=False).gather(np.arange(50)).targets["image.cup"].tolist()
    assert policy.losses(batch.map(torch.from_numpy))["grounding"].isfinite().all()
    assert found.windows(held_out=True).num_episodes == 2


def test_other_data_and_other_weights_are_another_run(tmp_path: Path) -> None:
    first, second = recorded(tmp_path), recorded(tmp_path / "second", instruction="go right")
    base = run_path(read_in(mixed(first, second), tmp_path)[0], tmp_path)
    assert run_path(read_in(mixed(first, second, temperature=2.0), tmp_path)[0], tmp_path) != base
    append(labels_path(second), [Label(Store.open(second).records[0].id, 0, "cup", "front", "seen", (0.5, 0.25))])
    assert run_path(read_in(mixed(first, second), tmp_path)[0], tmp_path) != base


def test_a_single_data_set_is_known_by_the_settings_it_was_known_by_before_there_were_mixtures() -> None:
    known = {name for name, value in to_dict(DataConfig(path="x")).items() if value is not None}
    assert known == {"path", "ingest", "labels", "tolerance", "fingerprint"}


def test_settings_of_augmentation_are_known_as_before_there_were_more() -> None:
    known = {name for name, value in to_dict(AugmentConfig()).items() if value is not None}
    assert known == {"brightness", "contrast", "shift", "hue", "hue_words"}


def test_words_that_augmentation_adds_are_known_to_the_policy(tmp_path: Path) -> None:
    base = config(recorded(tmp_path))
    assert isinstance(base.recipe, BcConfig)
    augment = dataclasses.replace(base.recipe.augment, phrases=PhraseConfig())
    known, recordings = read_in(
        dataclasses.replace(base, recipe=dataclasses.replace(base.recipe, augment=augment)), tmp_path
    )
    policy, _ = build(known, lessons(known, recordings))
    assert {"please", "carefully", "go", "left"} <= set(policy.tokenizer.get_vocab())


def test_pixels_are_not_moved_under_labels_in_space_of_a_calibrated_camera() -> None:
    camera = dataclasses.replace(SPEC.cameras["front"], intrinsics=(8.0, 8.0, 8.0, 8.0))
    spec = dataclasses.replace(SPEC, cameras={"front": camera})
    policy = preset("tiny").policy
    check_labels(AugmentConfig(crop=0.2, shift=2), policy, SPEC)
    for moving in (AugmentConfig(crop=0.2), AugmentConfig(shift=2)):
        with pytest.raises(ConfigError, match=r"(crop|shift) move the pixels of front, whose calibration"):
            check_labels(moving, policy, spec)


@pytest.mark.parametrize("kind", ["store", "file"])
def test_the_loss_goes_by_the_quality_in_the_mask_where_that_is_asked_for(tmp_path: Path, kind: str) -> None:
    path = recorded(tmp_path)
    if kind == "file":
        path = tmp_path / "log.hdf5"
        Hdf5.write(path, episodes())
    mask = Mask(6, {0: Part(None, 0.0), 2: Part((0, 5), 0.5), 3: Part((0, 5), 0.0)})
    write_mask(mask_path(path), mask)
    asked = config(path, quality=2.0)
    known, recordings = read_in(asked, tmp_path)
    found = lessons(known, recordings)
    windows = found.windows(held_out=False)
    assert isinstance(windows, Mixture)
    store = recordings[0].store
    by_episode = dict(zip((record.id for record in store.records), (1.0, 0.25, 1e-4, 1.0, 1.0), strict=True))
    wanted = [by_episode[record.id] for record in store.records if not record.held_out]
    weights = windows.gather(np.arange(windows.num_frames)).weight.reshape(-1, 5)
    np.testing.assert_allclose(weights, np.repeat(np.float32(wanted)[:, None], 5, axis=1))
    lines = windows.lines(windows.draws(seed=0, batch=4, updates=5))
    assert table(lines)[1].split()[-1] == f"{np.mean(wanted):.2f}"
    assert not isinstance(found.windows(held_out=True), Mixture)
    assert known.data is not None
    plain = read_in(config(path), tmp_path)[0].data
    assert plain is not None
    assert known.data.fingerprint != plain.fingerprint


def test_quality_that_nobody_measured_is_not_gone_by(tmp_path: Path) -> None:
    path = recorded(tmp_path)
    with pytest.raises(ConfigError, match=f"no mask beside .*sinew data filter {path}"):
        read_in(config(path, quality=1.0), tmp_path)
    with pytest.raises(ConfigError, match=r"--data\.quality -1: 0"):
        read_in(config(path, quality=-1.0), tmp_path)


@pytest.mark.parametrize(
    ("stored", "data", "said"),
    [
        (True, {"stream": 1.0}, "is a store, which lies here already"),
        (False, {"stream": 0.0}, "--data.ingest.stream 0.0: gigabytes"),
        (False, {"stream": 1.0, "films": True}, "no data.ingest.films beside it"),
        (False, {"stream": 1.0, "held_out": 0.0}, "leaves no episode to measure on"),
        (False, {"stream": 1.0, "quality": 1.0}, "does not go together with --data.quality"),
        (False, {"stream": 1.0, "labels": "image"}, "does not go together with --data.labels image"),
        (False, {"stream": 1e-9}, r"the longest episode has 5, a batch 64. Give .* \(--data.ingest.stream 0.0002"),
    ],
)
def test_streams_that_cannot_be_are_refused(stored: bool, data: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "log.hdf5"
    Hdf5.write(path, episodes())
    further = {name: data.pop(name) for name in ("quality", "labels") if name in data}
    asked = config(recorded(tmp_path) if stored else path, ingest=IngestConfig(**data), **further)

    def learn() -> None:
        known, recordings = read_in(asked, tmp_path)
        lessons(known, recordings).stream(tmp_path / "parts", batch=64, seed=0)

    with pytest.raises((ConfigError, DataError), match=said):
        learn()


def test_actions_are_learned_from_where_a_chunk_begins_where_that_is_asked_for(tmp_path: Path) -> None:
    spec = dataclasses.replace(SPEC, kind="absolute", low=(-1e4, 0.0), high=(1e4, 1.0))
    made = episodes(4, spec=spec)
    offset = [np.array([[one.state[0, 0] + 0.5, 1.0]], np.float32) for one in made]
    made = [
        dataclasses.replace(
            one, state=np.repeat(one.state[:1], 5, 0), action=np.repeat(to, 5, 0), executed=np.repeat(to, 5, 0)
        )
        for one, to in zip(made, offset, strict=True)
    ]
    Hdf5.write(tmp_path / "log.hdf5", made)
    asked = config(tmp_path / "log.hdf5", labels="none")
    asked = dataclasses.replace(
        asked,
        policy=dataclasses.replace(asked.policy, actions="relative", measured_from={"move": "position"}),
    )
    known, recordings = read_in(asked, tmp_path)
    policy, _ = build(known, lessons(known, recordings))
    assert policy.config.actions == "relative"
    assert float(policy.normalizer.get_buffer("action_mean")[0]) == pytest.approx(0.5)
    assert known.policy != preset("tiny").policy


def test_images_of_all_data_sets_take_the_size_of_a_store_among_them(tmp_path: Path) -> None:
    spec = ToyConfig(size=200).spec
    images = {"front": np.zeros((5, 3, 200, 200), np.uint8)}
    Hdf5.write(tmp_path / "log.hdf5", episodes(3, spec=spec, images=images))
    _, recordings = read_in(mixed(recorded(tmp_path), tmp_path / "log.hdf5"), tmp_path)
    assert [one.store.spec.cameras["front"].height for one in recordings] == [16, 16]


def test_data_sets_of_two_robots_are_refused_with_every_difference(tmp_path: Path) -> None:
    crane = dataclasses.replace(SPEC, embodiment="crane", hz=5.0)
    store = Store.create(tmp_path / "crane", crane)
    store.append(episodes(spec=crane))
    store.unlock()
    with pytest.raises(SpecError, match=r"embodiment[\s\S]*hz[\s\S]*docs/mixing\.md"):
        read_in(mixed(recorded(tmp_path), store.path), tmp_path)


def test_a_data_set_named_twice_over_is_refused() -> None:
    both = dataclasses.replace(preset("tiny"), data=DataConfig(path="a", mix=MixConfig((SourceConfig("b"),))))
    with pytest.raises(ConfigError, match="name each data set once"):
        read_in(both, Path())


def _directory(path: Path) -> Path:
    path.mkdir()
    return path
