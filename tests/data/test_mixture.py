from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sinew.core.errors import DataError
from sinew.core.types import CameraSpec, RobotSpec, SensorSpec
from sinew.data.episode import Episode
from sinew.data.mixture import Mixture, Part, table
from sinew.data.stats import Body, body_of
from sinew.data.store import Store
from sinew.data.windows import Windows
from toy_data import SPEC, random_episode

ARM = replace(
    SPEC,
    embodiment="arm",
    hz=50.0,
    kind="delta",
    cameras={"wrist": CameraSpec(6, 4), "front": CameraSpec(4, 4)},
    sensors={"force": SensorSpec((3,), "N", 50.0)},
    state=("a", "b", "c"),
    state_units=("rad",) * 3,
    action=("a", "b", "c"),
    action_units=("rad",) * 3,
    low=(-2.0,) * 3,
    high=(2.0,) * 3,
    binary=(),
)


def arm_episode(number: int, frames: int = 4, **changes: Any) -> Episode:  # noqa: ANN401
    rng = np.random.default_rng(number)
    made: dict[str, Any] = {
        "spec": ARM,
        "images": {
            "wrist": rng.integers(0, 256, (frames, 3, 6, 4), dtype=np.uint8),
            "front": rng.integers(0, 256, (frames, 3, 4, 4), dtype=np.uint8),
        },
        "state": rng.normal(size=(frames, 3)).astype(np.float32),
        "action": rng.uniform(-1, 1, (frames, 3)).astype(np.float32),
        "executed": rng.uniform(-1, 1, (frames, 3)).astype(np.float32),
        "sensors": {"force": rng.normal(size=(frames, 3)).astype(np.float32)},
        "targets": {"image.cup": rng.random((frames, 4)).astype(np.float32)},
    }
    return random_episode(number, frames, **{**made, **changes})


def windows(path: Path, episodes: list[Episode], spec: RobotSpec = SPEC, **cut: int) -> Windows:
    store = Store.create(path, spec, tuple(episodes[0].targets))
    store.append(episodes)
    return Windows([store], **{"history": 2, "horizon": 3, **cut})


def two(path: Path, **changes: Any) -> Mixture:  # noqa: ANN401
    first = windows(path / "first", [random_episode(0, 5), random_episode(1, 3)])
    second = windows(path / "second", [random_episode(2, 4)])
    return Mixture([Part("first", first), Part("second", second, 3.0)], **changes)


def test_one_body_is_gathered_as_by_windows_over_both_stores(tmp_path: Path) -> None:
    mixture = two(tmp_path)
    whole = Windows([part.windows.stores[0] for part in mixture.parts], history=2, horizon=3)
    frames = np.random.default_rng(0).permutation(mixture.num_frames)
    found, wanted = mixture.gather(frames), whole.gather(frames)
    np.testing.assert_array_equal(found.obs.images["front"], wanted.obs.images["front"])
    for name in ("actions", "is_pad", "weight", "ids"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    np.testing.assert_array_equal(found.obs.state, wanted.obs.state)
    np.testing.assert_array_equal(found.obs.history_is_pad, wanted.obs.history_is_pad)
    np.testing.assert_array_equal(found.targets["goal"], wanted.targets["goal"])
    assert (found.obs.instruction, found.task) == (wanted.obs.instruction, wanted.task)
    assert found.source == tuple("first" if frame < 8 else "second" for frame in frames)
    assert (found.action_mask, found.obs.present, found.obs.context) == (None, {}, {})
    assert mixture.spec == SPEC


def test_a_batch_of_one_source_is_whole_too(tmp_path: Path) -> None:
    batch = two(tmp_path).gather(np.array([9, 8]))
    assert batch.source == ("second", "second")
    assert batch.obs.state[:, -1, 0].tolist() == [2001, 2000]


def test_episodes_are_numbered_through(tmp_path: Path) -> None:
    mixture = two(tmp_path)
    assert (mixture.num_episodes, mixture.num_frames) == (3, 12)
    assert mixture.frames_of(2).tolist() == [8, 9, 10, 11]
    assert mixture.named(2) == ("second: train/2", "go 2")
    assert [(count.task, count.episodes, count.frames) for count in mixture.describe()] == [
        ("left", 2, 9),
        ("right", 1, 3),
    ]
    with pytest.raises(DataError, match="no episode 3"):
        mixture.named(3)
    with pytest.raises(DataError, match="there are 12"):
        mixture.gather(np.array([12]))


def test_other_bodies_are_padded_and_masked(tmp_path: Path) -> None:
    line = windows(tmp_path / "line", [random_episode(0, 5)], horizon=2)
    arm = windows(tmp_path / "arm", [arm_episode(7)], ARM, horizon=4)
    mixture = Mixture([Part("line", line), Part("arm", arm)])
    assert [str(body) for body in mixture.bodies] == ["toy/delta@10Hz", "arm/delta@50Hz"]
    batch = mixture.gather(np.array([6, 1, 5]))
    alone = {"line": line.gather(np.array([1])), "arm": arm.gather(np.array([1, 0]))}
    assert batch.source == ("arm", "line", "arm")
    assert batch.obs.context["body"].tolist() == [1, 0, 1]
    assert batch.obs.present["wrist"].tolist() == [True, False, True]
    assert batch.obs.present["force"].tolist() == [True, False, True]
    assert "front" not in batch.obs.present
    assert batch.action_mask is not None
    assert batch.action_mask.tolist() == [[True] * 3, [True, True, False], [True] * 3]
    assert batch.is_pad[1].tolist() == [False, False, True, True]
    np.testing.assert_array_equal(batch.actions[[0, 2]], alone["arm"].actions)
    np.testing.assert_array_equal(batch.actions[1, :2, :2], alone["line"].actions[0])
    assert not batch.actions[1, 2:].any()
    np.testing.assert_array_equal(batch.obs.images["wrist"][0], alone["arm"].obs.images["wrist"][0])
    assert not batch.obs.images["wrist"][1].any()
    np.testing.assert_array_equal(batch.obs.images["front"][1], alone["line"].obs.images["front"][0])
    np.testing.assert_array_equal(batch.obs.state[1, :, :2], alone["line"].obs.state[0])
    np.testing.assert_array_equal(batch.obs.sensors["force"][2], alone["arm"].obs.sensors["force"][1])
    assert batch.obs.images["wrist"].shape == (3, 2, 3, 6, 4)
    assert np.isnan(batch.targets["goal"]).ravel().tolist() == [True, False, True]
    with pytest.raises(DataError, match="several bodies"):
        _ = mixture.spec


def test_places_in_images_follow_their_cameras(tmp_path: Path) -> None:
    line = windows(tmp_path / "line", [random_episode(0, targets={"image.cup": np.full((3, 2), 0.25, np.float32)})])
    arm = windows(tmp_path / "arm", [arm_episode(7)], ARM)
    batch = Mixture([Part("line", line), Part("arm", arm)]).gather(np.array([0, 3]))
    wrist, front = np.split(arm.gather(np.array([0])).targets["image.cup"][0], 2)  # the arm's order
    np.testing.assert_array_equal(batch.targets["image.cup"][1], np.concatenate([front, wrist]))
    np.testing.assert_array_equal(batch.targets["image.cup"][0], [0.25, 0.25, np.nan, np.nan])


def test_what_padding_cannot_mend_is_refused(tmp_path: Path) -> None:
    line = windows(tmp_path / "line", [random_episode(0)])
    longer = windows(tmp_path / "longer", [random_episode(1)], history=3)
    with pytest.raises(DataError, match=r"histories \[2, 3\]"):
        Mixture([Part("line", line), Part("longer", longer)])
    with pytest.raises(DataError, match="each with a name of its own"):
        Mixture([Part("line", line), Part("line", line)])
    spec = replace(SPEC, embodiment="tall", cameras={"front": CameraSpec(8, 4)})
    images = {"front": np.zeros((3, 3, 8, 4), np.uint8)}
    tall = windows(tmp_path / "tall", [random_episode(0, spec=spec, images=images)], spec)
    with pytest.raises(DataError, match=r"tall: front is \(8, 4\), in another source of the mixture \(4, 4\)"):
        Mixture([Part("line", line), Part("tall", tall)])


def test_draws_follow_the_weights_and_the_table_says_what_they_mean(tmp_path: Path) -> None:
    mixture = two(tmp_path)  # 8 frames of weight 1, 4 of weight 3: 8 to 12
    draws = mixture.draws(seed=1, batch=10, updates=6)
    rows = np.concatenate([mixture.gather(mixture.drawn(draws, update)).source for update in range(6)])
    assert (rows == "second").mean() == pytest.approx(0.6, abs=0.05)
    first, second = mixture.lines(draws)
    assert (first.name, first.episodes, first.frames, first.weight) == ("first", 2, 8, 1.0)
    assert first.share == pytest.approx((rows == "first").mean())
    assert second.epochs == (rows == "second").sum() / 4
    assert table([first, second])[0].split() == ["source", "episodes", "frames", "weight", "drawn", "epochs"]
    assert table([second])[1].split() == [
        "second",
        "1",
        "4",
        "3",
        f"{100 * second.share:.1f}",
        "%",
        f"{second.epochs:.2f}",
    ]


def test_tasks_weigh_alike_over_what_is_drawn(tmp_path: Path) -> None:
    mixture = two(tmp_path, task_power=1.0)
    draws = mixture.draws(seed=1, batch=20, updates=100)
    total = {"left": 0.0, "right": 0.0}
    for update in range(100):
        batch = mixture.gather(mixture.drawn(draws, update))
        for task, weight in zip(batch.task, batch.weight, strict=True):
            total[task] += float(weight)
    assert total["left"] == pytest.approx(total["right"], rel=0.05)
    assert sum(total.values()) == pytest.approx(2000, rel=0.02)


def test_bodies_of_one_name_and_another_rate_of_deltas_are_apart() -> None:
    assert body_of(ARM) == Body("arm", "delta@50Hz")
    assert body_of(replace(ARM, hz=10.0)) != body_of(ARM)
    assert body_of(replace(ARM, kind="absolute", hz=10.0)) == body_of(replace(ARM, kind="absolute"))
    assert body_of(replace(ARM, rotation="rot6d")) == Body("arm", "delta@50Hz/rot6d")


def test_the_quality_of_an_episode_weighs_its_frames(tmp_path: Path) -> None:
    mixture = two(tmp_path)
    scored = replace(mixture.parts[0], quality=np.array([0.5, 0.0], np.float32))
    weighed = Mixture([scored, mixture.parts[1]])
    assert weighed.gather(np.array([0, 4, 5, 7, 8])).weight.tolist() == [0.5, 0.5, 0.0, 0.0, 1.0]
    with pytest.raises(DataError, match="first: 1 quality factors for 2 episodes"):
        Mixture([replace(scored, quality=np.ones(1, np.float32))])


def test_rows_of_all_sources_bring_what_was_executed_before_them(tmp_path: Path) -> None:
    line = windows(tmp_path / "line", [random_episode(0, 5)]).remembering(2)
    arm = windows(tmp_path / "arm", [arm_episode(1, 4)], ARM).remembering(2)
    mixture = Mixture([Part("line", line), Part("arm", arm)])
    before = mixture.gather(np.array([6, 1])).obs.prev_actions
    assert before is not None
    np.testing.assert_array_equal(before[0], arm.gather(np.array([1])).obs.prev_actions[0])  # type: ignore[index]
    np.testing.assert_array_equal(before[1, :, :2], line.gather(np.array([1])).obs.prev_actions[0])  # type: ignore[index]
    assert (before[1, :, 2:] == 0).all()
    with pytest.raises(DataError, match=r"sources with \[0, 2\] previous actions"):
        Mixture([Part("line", line), Part("arm", arm.remembering(0))])
