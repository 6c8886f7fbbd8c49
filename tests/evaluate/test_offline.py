from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.core.types import NumpyObservation
from sinew.data.episode import Episode
from sinew.data.store import Store
from sinew.data.windows import Windows
from sinew.evaluate.offline import action_error, replay
from toy import STEP, ToyConfig

SPEC = ToyConfig().spec
FRAMES, HORIZON = 5, 3


class Listener:
    """Moves by half a step where it is told to; the recordings move by a whole one."""

    def predict_action_chunk(self, obs: NumpyObservation) -> NDArray[np.float32]:
        sign = np.array([1.0 if text == "go right" else -1.0 for text in obs.instruction])
        move = (0.5 * STEP * sign)[:, None].repeat(HORIZON, axis=1)
        return np.stack([move, np.zeros_like(move)], axis=2).astype(np.float32)


class Deaf(Listener):
    """Draws from torch and listens to nobody."""

    def predict_action_chunk(self, obs: NumpyObservation) -> NDArray[np.float32]:
        return torch.randn(obs.num_rows, HORIZON, 2).numpy()


def episode(sign: float, sentence: str, *, held_out: bool = True) -> Episode:
    action = np.tile(np.array([sign * STEP, 0.0], np.float32), (FRAMES, 1))
    action[-1, 1] = 1.0
    images = {"front": np.zeros((FRAMES, 3, 8, 8), np.uint8)}
    state = np.zeros((FRAMES, 2), np.float32)
    return Episode(SPEC, images, state, action, action, sentence, "line", True, held_out=held_out)


def held_out(path: Path, *episodes: Episode) -> Windows:
    store = Store.create(path / "store", SPEC)
    store.append(episodes)
    return Windows([store], history=1, horizon=HORIZON, held_out=True)


def test_errors_are_in_physical_units_and_leave_padding_out(tmp_path: Path) -> None:
    windows = held_out(tmp_path, episode(1.0, "go right"), episode(-1.0, "go left"))
    found = action_error(Listener(), windows)
    assert (found.action, found.units, found.frames) == (("move", "honk"), ("m", "1"), 2 * FRAMES)
    # A half step off everywhere. The honk at the end is missed from 3 of the 3 + 3 + 3 + 2 + 1 known steps.
    assert found.error == pytest.approx((0.5 * STEP, 3 / 12))
    # The wrong way: a step and a half off.
    assert found.shuffled == pytest.approx((1.5 * STEP, 3 / 12))


def test_a_deaf_policy_has_the_same_error_under_any_sentence(tmp_path: Path) -> None:
    windows = held_out(tmp_path, episode(1.0, "go right"), episode(-1.0, "go left"))
    before = torch.get_rng_state()
    found = action_error(Deaf(), windows, batch=4)
    assert found.shuffled == found.error
    assert torch.equal(torch.get_rng_state(), before)


def test_one_sentence_cannot_be_shuffled(tmp_path: Path) -> None:
    found = action_error(Listener(), held_out(tmp_path, episode(1.0, "go right")))
    assert found.shuffled is None
    assert found.alignment is None


def test_a_step_is_right_where_every_action_is_within_its_tolerance(tmp_path: Path) -> None:
    windows = held_out(tmp_path, episode(1.0, "go right"), episode(-1.0, "go left"))
    strict, loose = (action_error(Listener(), windows, tolerance=share) for share in (0.2, 0.3))
    assert strict.tolerance == pytest.approx((0.2 * 2 * STEP, 0.2))
    assert strict.accuracy == 0  # half a step is a quarter of the range of two steps
    assert loose.accuracy == pytest.approx(9 / 12)  # the honk at the end is missed whatever the tolerance
    assert loose.episodes == 2


def test_alignment_is_how_much_worse_another_sentence_makes_it(tmp_path: Path) -> None:
    windows = held_out(tmp_path, episode(1.0, "go right"), episode(-1.0, "go left"))
    found = action_error(Listener(), windows)
    assert found.score == pytest.approx((0.25 + 0.25) / 2)
    assert found.alignment == pytest.approx((0.75 + 0.25) / 2 / found.score - 1)
    assert action_error(Deaf(), windows).alignment == 0


def test_a_replay_lays_what_the_policy_would_do_beside_what_was_done(tmp_path: Path) -> None:
    windows = held_out(tmp_path, episode(1.0, "go right"), episode(-1.0, "go left"))
    found = replay(Listener(), windows, 1, batch=2)
    assert (found.instruction, found.hz, len(found.recorded)) == ("go left", SPEC.hz, FRAMES)
    assert [row[0] for row in found.recorded] == [-STEP] * FRAMES
    assert [row[0] for row in found.predicted] == [-STEP / 2] * FRAMES
    assert found.error == pytest.approx((0.25 + 1 / FRAMES) / 2)


def test_no_held_out_episodes_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    windows = held_out(tmp_path, episode(1.0, "go right", held_out=False))
    with pytest.raises(DataError, match="share that is held out"):
        action_error(Listener(), windows)


def test_windows_of_another_horizon_are_refused(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store", SPEC)
    store.append([episode(1.0, "go right")])
    with pytest.raises(DataError, match="predicts 3 steps of 2 actions, the windows hold 4 of 2"):
        action_error(Listener(), Windows([store], history=1, horizon=4, held_out=True))
