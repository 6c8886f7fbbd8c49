from __future__ import annotations

import dataclasses

import numpy as np

from sinew.core.types import NumpyObservation, Rows
from sinew.evaluate.policies import GREY, Blank, RandomPolicy
from toy import ToyConfig, ToyExpert

CONFIG = ToyConfig()
ENV = CONFIG.build(3)
OBS = ENV.reset(ENV.states("seen", "left", 3))


def test_random_actions_fill_the_bounds_and_binary_ones_take_two_values() -> None:
    policy = RandomPolicy(CONFIG.spec, seed=1)
    drawn = np.concatenate([policy.select_action(OBS) for _ in range(300)])
    assert drawn.dtype == np.float32
    assert (drawn >= np.float32(CONFIG.spec.low)).all()
    assert (drawn <= np.float32(CONFIG.spec.high)).all()
    assert abs(drawn[:, 0].mean()) < 0.02
    assert set(np.unique(drawn[:, 1])) == {0.0, 1.0}
    assert abs(drawn[:, 1].mean() - 0.5) < 0.1


def test_random_binary_actions_hold_for_a_few_ticks() -> None:
    policy = RandomPolicy(CONFIG.spec, hold=5.0)
    honks = np.stack([policy.select_action(OBS)[:, 1] for _ in range(400)])
    changes = (honks[1:] != honks[:-1]).mean()
    assert 0.05 < changes < 0.15  # redrawn every 5 ticks, half of the draws change nothing


def test_random_rows_are_streams_of_their_own_that_a_reset_renews() -> None:
    first, second = RandomPolicy(CONFIG.spec, seed=3), RandomPolicy(CONFIG.spec, seed=3)
    alone = [second.select_action(dataclasses.replace(OBS, instruction=("",)), [2]) for _ in range(4)]
    together = [first.select_action(OBS)[2:] for _ in range(4)]
    np.testing.assert_array_equal(alone, together)
    second.reset([2])
    assert (second.select_action(dataclasses.replace(OBS, instruction=("",)), [2]) != alone[0]).any()


def test_blank_turns_every_image_grey_and_nothing_else() -> None:
    class Watching(ToyExpert):
        seen: NumpyObservation

        def select_action(self, obs: NumpyObservation, rows: Rows = None) -> np.ndarray:
            self.seen = obs
            return super().select_action(obs, rows)

    inner = Watching(CONFIG)
    blank = Blank(inner)
    blank.reset()
    actions = blank.select_action(OBS)
    np.testing.assert_array_equal(actions, ToyExpert(CONFIG).select_action(OBS))
    assert (inner.seen.images["front"] == GREY).all()
    assert inner.seen.images["front"].shape == OBS.images["front"].shape
    np.testing.assert_array_equal(inner.seen.state, OBS.state)
    assert blank.spec == CONFIG.spec
