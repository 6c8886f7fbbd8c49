from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sinew.core.errors import ConfigError
from sinew.core.types import Batch, CameraSpec, Observation, RobotSpec
from sinew.data.augment import Augment
from sinew.data.config import AugmentConfig, MirrorConfig
from sinew.data.mirror import Mirror

SPEC = RobotSpec(
    embodiment="two-arms",
    cameras={"top": CameraSpec(8, 12), "left_wrist": CameraSpec(8, 12), "right_wrist": CameraSpec(8, 12)},
    state=("x", "y", "yaw", "left_joint", "right_joint"),
    state_units=("m", "m", "rad", "rad", "rad"),
    action=("dx", "dy", "grip"),
    action_units=("m", "m", "1"),
    low=(-1.0, -2.0, 0.0),
    high=(1.0, 2.0, 1.0),
    hz=10.0,
    kind="delta",
    binary=("grip",),
)
MAP = MirrorConfig(
    keep=("state.y", "action.dy", "action.grip", "targets.goal.1"),
    negate=("state.x", "state.yaw", "action.dx", "targets.goal.0"),
    swap=(("state.left_joint", "state.right_joint"),),
    turn=(("state.x", "state.y"), ("action.dx", "action.dy"), ("targets.goal.0", "targets.goal.1")),
    spin=("state.yaw",),
    about={"state.x": 0.5, "targets.goal.0": 0.5},
    cameras=(("left_wrist", "right_wrist"),),
)
WORDS = ("push it left", "Left of the leftmost one, turn clockwise", "lift it", "go upright")


def batch() -> Batch[Tensor]:
    random = torch.Generator().manual_seed(0)
    images = {
        name: torch.randint(0, 256, (4, 2, 3, 8, 12), dtype=torch.uint8, generator=random) for name in SPEC.cameras
    }
    obs = Observation(
        images=images,
        state=torch.rand(4, 2, 5, generator=random),
        instruction=WORDS,
        present={"left_wrist": torch.tensor([True, False, True, True])},
        prev_actions=torch.rand(4, 2, 3, generator=random),
    )
    targets = {"goal": torch.rand(4, 2, generator=random), "image.cup": torch.rand(4, 6, generator=random)}
    targets["goal"][3] = math.nan
    return Batch(
        obs, torch.rand(4, 5, 3, generator=random), torch.zeros(4, 5, dtype=torch.bool), torch.ones(4), targets
    )


ROWS = torch.tensor([True, True, False, True])


def test_a_mirrored_row_is_mirrored_in_everything() -> None:
    before = batch()
    after = Mirror(MAP, SPEC).flip(before, ROWS)
    state, old = after.obs.state, before.obs.state
    torch.testing.assert_close(
        state[0], torch.stack([1 - old[0, :, 0], old[0, :, 1], -old[0, :, 2], old[0, :, 4], old[0, :, 3]], dim=1)
    )
    torch.testing.assert_close(after.actions[1], before.actions[1] * torch.tensor([-1.0, 1.0, 1.0]))
    assert before.obs.prev_actions is not None
    assert after.obs.prev_actions is not None
    torch.testing.assert_close(after.obs.prev_actions[0], before.obs.prev_actions[0] * torch.tensor([-1.0, 1.0, 1.0]))
    assert torch.equal(after.obs.images["top"][0], before.obs.images["top"][0].flip(-1))
    assert torch.equal(after.obs.images["left_wrist"][0], before.obs.images["right_wrist"][0].flip(-1))
    assert after.obs.present["left_wrist"].tolist() == [True, True, True, True]
    goal, place = before.targets["goal"][0], before.targets["image.cup"][0]
    torch.testing.assert_close(after.targets["goal"][0], torch.stack([1 - goal[0], goal[1]]))
    assert after.targets["goal"][3].isnan().all()
    wanted = torch.stack([1 - place[0], place[1], 1 - place[4], place[5], 1 - place[2], place[3]])
    torch.testing.assert_close(after.targets["image.cup"][0], wanted)
    assert after.obs.instruction == (
        "push it right",
        "Right of the rightmost one, turn counterclockwise",
        "lift it",
        "go upright",
    )


def test_other_rows_stay_as_they_are_and_twice_is_once_more_the_same() -> None:
    before, mirror = batch(), Mirror(MAP, SPEC)
    after = mirror.flip(before, ROWS)
    assert torch.equal(after.obs.state[2], before.obs.state[2])
    assert torch.equal(after.actions[2], before.actions[2])
    assert torch.equal(after.obs.images["right_wrist"][2], before.obs.images["right_wrist"][2])
    back = mirror.flip(after, ROWS)
    torch.testing.assert_close(back.obs.state, before.obs.state)
    torch.testing.assert_close(back.targets["image.cup"], before.targets["image.cup"])
    assert torch.equal(back.obs.images["left_wrist"], before.obs.images["left_wrist"])
    assert [text.lower() for text in back.obs.instruction] == [text.lower() for text in WORDS]


def test_a_turn_carries_positions_deltas_angles_and_labels_along() -> None:
    before = batch()
    quarter = torch.full((4,), math.pi / 2)
    after = Mirror(MAP, SPEC, turns=True).turn(before, quarter)
    old, new = before.obs.state[2], after.obs.state[2]
    torch.testing.assert_close(new[:, 0], 0.5 - old[:, 1])
    torch.testing.assert_close(new[:, 1], old[:, 0] - 0.5)
    torch.testing.assert_close(new[:, 2], old[:, 2] + math.pi / 2)
    torch.testing.assert_close(new[:, 3:], old[:, 3:])
    torch.testing.assert_close(
        after.actions[2, :, :2], torch.stack([-before.actions[2, :, 1], before.actions[2, :, 0]], dim=1)
    )
    torch.testing.assert_close(after.actions[2, :, 2], before.actions[2, :, 2])
    goal = before.targets["goal"][2]
    torch.testing.assert_close(after.targets["goal"][2], torch.stack([0.5 - goal[1], goal[0] - 0.5]))


def test_a_sentence_with_sides_is_not_turned() -> None:
    before = batch()
    after = Mirror(MAP, SPEC, turns=True).turn(before, torch.full((4,), 0.3))
    assert after.obs.instruction == WORDS
    assert torch.equal(after.obs.state[:2], before.obs.state[:2])
    assert torch.equal(after.obs.images["top"][:2], before.obs.images["top"][:2])
    assert not torch.equal(after.obs.images["top"][2], before.obs.images["top"][2])


def test_training_mirrors_the_share_asked_for_by_seed() -> None:
    change = Augment(AugmentConfig(0, 0, flip=0.5, turn=0.2, mirror=MAP), SPEC)
    one, two, other = (change(batch(), torch.Generator(), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.obs.images["top"], two.obs.images["top"])
    assert torch.equal(one.actions, two.actions)
    assert not torch.equal(one.actions, other.actions)
    assert batch().obs.instruction == WORDS


@pytest.mark.parametrize(
    ("changes", "turns", "said"),
    [
        ({"keep": ("action.dy", "action.grip")}, False, "say what becomes of: state.y"),
        ({"negate": (*MAP.negate, "state.z")}, False, "there is no: state.z"),
        ({"keep": (*MAP.keep, "state.x")}, False, "kept and changed: state.x"),
        ({"turn": (("state.x", "action.dy"),)}, False, "pairs of one array"),
        ({"spin": ()}, True, "does not turn .*: state.yaw"),
        ({"about": {"action.dx": 0.5}}, False, r"action.dx lies in -1 .. 1, mirrored in 0 .. 2"),
        ({"cameras": (("left_wrist", "back"),)}, False, "there is no back"),
    ],
)
def test_a_map_that_forgets_something_is_refused(changes: dict[str, object], turns: bool, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Mirror(replace(MAP, **changes), SPEC, turns=turns)


def test_labels_that_nobody_spoke_of_are_refused() -> None:
    given = batch()
    given = replace(given, targets={**given.targets, "depth": torch.zeros(4, 1)})
    with pytest.raises(ConfigError, match=r"nothing is said of targets\.depth\.0"):
        Mirror(MAP, SPEC).flip(given, ROWS)
    lidar = replace(batch(), obs=replace(batch().obs, sensors={"lidar": torch.zeros(4, 2, 7)}))
    with pytest.raises(ConfigError, match="nothing is said of lidar"):
        Mirror(MAP, SPEC).turn(lidar, torch.zeros(4))
