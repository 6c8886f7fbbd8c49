from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sinew.core.errors import DataError
from sinew.core.types import SensorSpec
from toy_data import SPEC, random_episode

SENSING = replace(SPEC, sensors={"depth": SensorSpec((2, 2), "mm", 10.0, dtype="uint16")})


def changed(name: str, frame: int, value: int, to: float) -> np.ndarray[Any, Any]:
    array = getattr(random_episode(7), name).copy()
    array[frame, value] = to
    return array


def test_a_good_episode_passes() -> None:
    random_episode(7).check()
    random_episode(7, targets={}, label_horizon=1).check()
    random_episode(7, targets={"goal": np.full((3, 2), np.nan, np.float32)}).check()
    depth = {"depth": np.zeros((3, 2, 2), np.uint16)}
    random_episode(7, spec=SENSING, sensors=depth, reward=np.zeros(3, np.float32), terminated=True).check()
    random_episode(7, final_state=np.zeros(2, np.float32)).check()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": np.zeros((0, 2), np.float32)}, "state has no frames"),
        ({"state": np.zeros((3, 5), np.float32)}, r"state has shape \(3, 5\), .* need \(3, 2\)"),
        ({"state": np.zeros((3, 2))}, "state is float64, float32 is needed"),
        ({"action": np.zeros((2, 2), np.float32)}, r"action has shape \(2, 2\)"),
        ({"executed": np.zeros((3, 3), np.float32)}, r"executed has shape \(3, 3\)"),
        (
            {"images": {"wrist": np.zeros((3, 3, 4, 4), np.uint8)}},
            r"images has cameras \['wrist'\], the spec says \['front'\]",
        ),
        ({"images": {"front": np.zeros((3, 4, 4, 3), np.uint8)}}, r"images.front has shape \(3, 4, 4, 3\)"),
        ({"images": {"front": np.zeros((3, 3, 4, 4), np.float32)}}, "images.front is float32"),
        ({"targets": {"goal": np.zeros(3, np.float32)}}, r"targets.goal has shape \(3,\)"),
        ({"targets": {"goal": np.zeros((2, 1), np.float32)}}, r"targets.goal has shape \(2, 1\)"),
        ({"label_horizon": 0}, "label_horizon is 0"),
        ({"sensors": {"imu": np.zeros((3, 6), np.float32)}}, r"sensors has \['imu'\], the spec says \[\]"),
        ({"spec": SENSING}, r"sensors has \[\], the spec says \['depth'\]"),
        ({"spec": SENSING, "sensors": {"depth": np.zeros((3, 2, 2), np.float32)}}, "sensors.depth is float32, uint16"),
        ({"spec": SENSING, "sensors": {"depth": np.zeros((3, 4), np.uint16)}}, r"sensors.depth has shape \(3, 4\)"),
        ({"reward": np.zeros((3, 1), np.float32)}, r"reward has shape \(3, 1\), .* need \(3,\)"),
        ({"reward": np.zeros(3)}, "reward is float64"),
        ({"reward": np.array([0, np.nan, 0], np.float32)}, "frame 1: reward is nan"),
        ({"final_state": np.zeros((1, 2), np.float32)}, r"final_state has shape \(1, 2\)"),
        ({"final_state": np.array([0, np.inf], np.float32)}, "final_state is "),
        ({"state": changed("state", 1, 0, np.nan)}, "frame 1: state.position is nan"),
        ({"executed": changed("executed", 2, 1, np.inf)}, "frame 2: executed.honk is inf"),
        ({"action": changed("action", 2, 0, np.nan)}, "frame 2: action.move is nan"),
        ({"action": changed("action", 1, 0, 0.3)}, r"frame 1: action.move is 0.3, the spec allows -0.25 to 0.25"),
        ({"action": changed("action", 1, 1, 0.5)}, r"frame 1: action.honk is 0.5, the spec allows 0 or 1"),
    ],
)
def test_a_bad_episode_is_refused_with_episode_frame_and_field(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=f"episode train/7(: |, ){message}"):
        random_episode(7, **changes).check()


def test_rounding_at_the_bounds_is_no_error() -> None:
    random_episode(7, action=changed("action", 0, 0, 0.25 * (1 + 1e-6))).check()
