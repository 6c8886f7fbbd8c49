from __future__ import annotations

import numpy as np

from sinew.evaluate.unlit import unlit
from toy import ToyConfig

CONFIG = ToyConfig()
STATES = ("seen/left/0", "seen/right/1")


def test_an_unlit_world_goes_the_same_way_but_draws_nothing() -> None:
    dark, lit = unlit(CONFIG.build(2)), CONFIG.build(2)
    start = dark.reset(STATES).images["front"]
    np.testing.assert_array_equal(start, lit.reset(STATES).images["front"])
    actions = np.array([[0.25, 0.0], [-0.25, 1.0]], dtype=np.float32)
    in_dark, in_light = dark.step(actions), lit.step(actions)
    np.testing.assert_array_equal(in_dark.obs.state, in_light.obs.state)
    np.testing.assert_array_equal(in_dark.obs.images["front"], start)
    assert (in_light.obs.images["front"] != start).any()
    assert (dark.spec, dark.num_envs) == (lit.spec, 2)
