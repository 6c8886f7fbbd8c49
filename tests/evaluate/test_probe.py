"""What the probe tells of policies that look, listen, shake or do not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from sinew.core.types import NumpyObservation
from sinew.data.store import Store
from sinew.data.windows import Windows
from sinew.evaluate.probe import choose, measure, probe
from toy_data import SPEC, random_episode

HORIZON = 4
Act = Callable[[NumpyObservation], NDArray[np.float32]]


class Says:
    """A policy that is a function of the observation, (B,) -> the first action, held for the whole chunk."""

    def __init__(self, act: Act) -> None:
        self.act = act

    def predict_action_chunk(self, obs: NumpyObservation) -> NDArray[np.float32]:
        first = np.zeros((obs.num_rows, HORIZON, 2), np.float32)
        first[:, :, 0] = self.act(obs)[:, None]
        return first


def image(obs: NumpyObservation) -> NDArray[np.float32]:
    return obs.images["front"].mean(axis=(1, 2, 3, 4)) / 255


def words(obs: NumpyObservation) -> NDArray[np.float32]:
    return np.array([int(text.split()[-1]) for text in obs.instruction], np.float32) / 10


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Windows:
    store = Store.create(tmp_path_factory.mktemp("probe") / "store", SPEC, ("goal",))
    ticks = np.arange(14)
    smooth = np.stack([0.2 * np.sin(ticks / 5), ticks > 7], axis=1).astype(np.float32)
    store.append([random_episode(number, 14, action=smooth * np.float32([1 - 0.1 * number, 1])) for number in range(6)])
    return Windows([store], history=1, horizon=HORIZON)


def found(windows: Windows, act: Act, execute: int = 1) -> dict[str, float]:
    return measure(Says(act), choose(windows, seed=0), execute=execute)


def test_policy_of_the_image_alone_looks_and_does_not_listen(windows: Windows) -> None:
    numbers = found(windows, image)
    assert numbers["probe/look"] == pytest.approx(1.0)
    assert numbers["probe/listen"] == 0.0


def test_policy_of_the_words_alone_listens_and_does_not_look(windows: Windows) -> None:
    numbers = found(windows, words)
    assert numbers["probe/listen"] == pytest.approx(1.0)
    assert numbers["probe/look"] == 0.0


def test_policy_of_both_does_some_of_each(windows: Windows) -> None:
    numbers = found(windows, lambda obs: 5 * image(obs) + words(obs))
    assert 0.05 < numbers["probe/look"] < 1.5
    assert 0.05 < numbers["probe/listen"] < 1.5


def test_constant_policy_has_no_spread_and_no_ratios(windows: Windows) -> None:
    numbers = found(windows, lambda obs: np.full(obs.num_rows, 0.3, np.float32))
    assert numbers["probe/spread"] < 1e-9
    assert "probe/look" not in numbers
    assert "probe/listen" not in numbers


def test_shaking_is_compared_with_the_recordings(windows: Windows) -> None:
    rough = np.random.default_rng(0)
    calm = found(windows, lambda obs: 0.2 * np.sin(obs.state[:, 0, 0] % 1000 / 5).astype(np.float32))
    wild = found(windows, lambda obs: rough.normal(size=obs.num_rows).astype(np.float32))
    assert calm["probe/jitter"] == pytest.approx(1.2, abs=0.5)
    assert wild["probe/jitter"] > 10
    held = found(windows, lambda obs: rough.normal(size=obs.num_rows).astype(np.float32), execute=4)
    assert held["probe/jitter"] < wild["probe/jitter"]


def test_stretches_are_of_many_sentences_and_one_length(windows: Windows) -> None:
    stretches = choose(windows, seed=0)
    assert stretches.length == 12
    assert len(set(stretches.batch.obs.instruction)) == 6
    ids = np.asarray(stretches.batch.ids).reshape(-1, 12)
    assert (np.diff(ids, axis=1) == 1).all()


def test_errors_are_told_by_task_and_by_what_was_learned_from(windows: Windows) -> None:
    policy = Says(image)
    numbers = probe(policy, windows, windows)
    assert numbers["error/training"] == numbers["error/held_out"]
    assert {"task_error/left", "task_error/right"} <= set(numbers)
    alone = probe(policy, windows, None)
    assert "error/held_out" not in alone


def test_one_sentence_cannot_be_exchanged(windows: Windows) -> None:
    stretches = choose(windows, seed=0)
    obs = dataclasses.replace(stretches.batch.obs, instruction=("go 1",) * stretches.batch.num_rows)
    one = dataclasses.replace(stretches, batch=dataclasses.replace(stretches.batch, obs=obs))
    assert "probe/listen" not in measure(Says(image), one)


def test_stretches_of_short_episodes_are_short_and_many(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = Store.create(tmp_path_factory.mktemp("short") / "store", SPEC, ("goal",))
    store.append([random_episode(number, 3 + number) for number in range(6)])
    stretches = choose(Windows([store], history=1, horizon=HORIZON), seed=0)
    assert stretches.length == 5  # the lengths are 3 to 8
    assert stretches.batch.num_rows == 5 * 4
    assert "probe/look" in measure(Says(image), stretches)
