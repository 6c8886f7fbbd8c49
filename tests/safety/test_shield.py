"""The shield under an adversary, at its doors, and around a policy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from safety.arm import LIMITS, START, NaiveClip, arm_spec, gripper_spec, torment
from sinew.core.errors import ConfigError, DataError, SpecError
from sinew.core.types import ActionKind, NumpyObservation, Observation, RobotSpec, Rows
from sinew.safety.limits import ShieldLimits
from sinew.safety.shield import Shield, ShieldedPolicy

FREE = dataclasses.replace(LIMITS, acceleration=(2.0,) * 7, velocity=(0.5,) * 7, low=(), high=())


def state(*values: float, rows: int = 1) -> NDArray[np.float32]:
    """Return a state (rows, 7); the start unless values are given."""
    return np.tile(np.asarray(values or START, dtype=np.float32), (rows, 1))


@pytest.mark.parametrize("kind", ["absolute", "delta", "relative"])
def test_no_limit_is_broken_whatever_is_asked(kind: ActionKind) -> None:
    spec = arm_spec(kind)
    shield = Shield(LIMITS, spec)
    judge = torment(spec, shield.filter, rows=40, ticks=700, noise=1e-3 if kind == "relative" else 0.0)
    assert judge.violations == 0
    assert min(judge.excess.values()) > -1e-3  # the adversary did reach every limit


def test_the_naive_clip_fails_the_same_test() -> None:
    spec = arm_spec("absolute")
    judge = torment(spec, NaiveClip(spec, 40), rows=40, ticks=700)
    assert judge.excess["acceleration"] > 1.0


def test_set_points_within_the_limits_go_through_unchanged() -> None:
    shield = Shield(LIMITS, arm_spec())
    ticks = np.arange(200)[:, None]
    wanted = START + 0.04 * (1 - np.cos(ticks * 0.05))
    sent = np.concatenate([shield.filter(row[None], state()) for row in wanted])
    np.testing.assert_allclose(sent, wanted, atol=1e-6)
    assert shield.interventions() == {}


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e35])
def test_a_value_that_is_no_number_brakes_all_axes(bad: float) -> None:
    shield = Shield(FREE, arm_spec("delta"))
    for _ in range(10):
        shield.filter(np.full((1, 7), 0.004), state())
    moving = shield.last.sent.copy()
    wanted = np.full((1, 7), 0.004)
    wanted[0, 3] = bad
    braked = shield.filter(wanted, state())
    assert (np.abs(braked) < np.abs(moving)).all()
    assert shield.interventions() == {"not finite": 1}
    for _ in range(3):
        shield.filter(wanted, state())
    assert shield.at_rest()
    np.testing.assert_allclose(shield.last.sent, 0.0, atol=1e-7)


def test_a_state_that_is_no_number_brakes() -> None:
    shield = Shield(FREE, arm_spec("delta"))
    shield.filter(np.full((1, 7), 0.004), state())
    lost = state()
    lost[0, 2] = np.nan
    shield.filter(np.full((1, 7), 0.004), lost)
    assert shield.interventions() == {"not finite": 1}


def test_stale_rows_brake_and_others_go_on() -> None:
    shield = Shield(FREE, arm_spec("delta"))
    for _ in range(5):
        shield.filter(np.full((2, 7), 0.004), state(rows=2))
    sent = shield.filter(np.full((2, 7), 0.004), state(rows=2), stale=np.array([True, False]))
    np.testing.assert_allclose(sent[0], 0.0, atol=1e-7)
    np.testing.assert_allclose(sent[1], 0.004, atol=1e-7)
    assert (shield.interventions(0), shield.interventions(1)) == ({"stale": 1}, {})


def test_brake_comes_to_rest_within_the_limits() -> None:
    spec = arm_spec("absolute")
    shield = Shield(FREE, spec)
    for tick in range(8):
        shield.filter(START[None] + 0.02 * tick, state())
    assert not shield.at_rest()
    ticks = 0
    while not shield.at_rest():
        shield.brake(state())
        ticks += 1
    assert ticks <= 6  # 0.5 rad/s at a little less than 2 rad/s^2, 20 Hz


def test_an_episode_starts_where_the_robot_is() -> None:
    shield = Shield(LIMITS, arm_spec("absolute"))
    elsewhere = state(0.3, 0.3, 0.1, 0.2, 0.4, -0.3, 0.05)
    sent = shield.filter(np.zeros((1, 7)), elsewhere)
    assert (np.abs(sent - elsewhere) <= np.asarray(LIMITS.acceleration) / 400 + 1e-6).all()
    shield.reset()
    sent = shield.filter(START[None], state())
    np.testing.assert_allclose(sent, START[None], atol=1e-6)
    assert shield.interventions() == {}


def test_rows_do_not_know_each_other() -> None:
    together, alone = Shield(LIMITS, arm_spec("delta")), Shield(LIMITS, arm_spec("delta"))
    rng = np.random.default_rng(3)
    for tick in range(60):
        actions = rng.uniform(-0.2, 0.2, (3, 7))
        rows = np.array([2, 0, 1]) if tick % 2 else None
        order = [2, 0, 1] if tick % 2 else [0, 1, 2]
        sent = together.filter(actions[order], state(rows=3), rows)
        single = alone.filter(actions[1:2], state())
        np.testing.assert_array_equal(sent[order.index(1)], single[0])


def test_a_gripper_passes_and_keeps_its_value_through_a_failure() -> None:
    shield = Shield(LIMITS, gripper_spec())
    begun = np.insert(state(), 3, 1.0, axis=1)
    wanted = np.zeros((1, 8))
    wanted[0, 3] = np.nan
    assert shield.filter(wanted, begun)[0, 3] == 1.0  # measured, since nothing was sent yet
    wanted[0, 3] = 0.0
    assert shield.filter(wanted, begun)[0, 3] == 0.0
    wanted[0, 3] = np.nan
    assert shield.filter(wanted, begun)[0, 3] == 0.0


def test_set_points_that_the_robot_reports_are_followed() -> None:
    names = ("x", "lead")
    spec = RobotSpec("slide", {}, names, ("m", "m"), ("dx",), ("m",), (-0.05,), (0.05,), 10.0, "delta")
    limits = ShieldLimits(("dx",), ("m",), (0.5,), (1.0,), (-1.0,), (1.0,), (names,), "state")
    shield = Shield(limits, spec)
    stuck = np.array([[0.4, 0.05]], dtype=np.float32)
    for _ in range(100):  # the robot does not let its set-point run away, so the shield's must not either
        sent = shield.filter(np.array([[0.05]]), stuck)
    assert sent[0, 0] == pytest.approx(0.05)
    np.testing.assert_allclose(shield.measured, 0.45)


def test_while_a_state_is_stale_what_was_sent_counts() -> None:
    names = ("x",)
    spec = RobotSpec("slide", {}, names, ("m",), ("dx",), ("m",), (-0.05,), (0.05,), 10.0, "delta")
    shield = Shield(ShieldLimits(("dx",), ("m",), (0.5,), (1.0,), (-1.0,), (1.0,), (names,), "state"), spec)
    seen = np.array([[0.4]], dtype=np.float32)
    for _ in range(5):
        moving = shield.filter(np.array([[0.05]]), seen)
    first, second = (shield.brake(seen)[0, 0] for _ in range(2))
    assert shield.braking.position[0, 0] == pytest.approx(0.4 + moving[0, 0] + first + second)


@pytest.mark.parametrize(
    ("limits", "spec", "kind", "message"),
    [
        (LIMITS, arm_spec("waypoint"), SpecError, "kind waypoint cannot be shielded"),
        (dataclasses.replace(LIMITS, units=("deg",) * 7), arm_spec(), ConfigError, "limited in deg, the robot takes"),
        (LIMITS, dataclasses.replace(arm_spec(), action=("a",) * 7), ConfigError, "is no action of arm"),
        (ShieldLimits(("joint_0",), ("rad",), (1.0,), (1.0,)), arm_spec(), ConfigError, "no limits for joint_1"),
        (dataclasses.replace(LIMITS, passed=("joint_1",)), arm_spec(), ConfigError, "joint_1 has limits, but"),
        (LIMITS, dataclasses.replace(arm_spec(), state=("s",) * 7), ConfigError, "must be measured"),
        (dataclasses.replace(LIMITS, follow="state"), arm_spec(), ConfigError, "follow state is for delta"),
        (dataclasses.replace(LIMITS, acceleration=(1e-9,) * 7), arm_spec(), ConfigError, "so tightly"),
    ],
)
def test_limits_that_do_not_fit_are_refused(
    limits: ShieldLimits, spec: RobotSpec, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        Shield(limits, spec)


def test_an_episode_does_not_start_blind() -> None:
    with pytest.raises(DataError, match="finite values are needed"):
        Shield(LIMITS, arm_spec()).filter(np.zeros((1, 7)), state() * np.nan)


class Pushing:
    """Always pushes as hard as the spec allows."""

    def __init__(self, spec: RobotSpec) -> None:
        self.spec, self.resets = spec, 0

    def reset(self, rows: Rows = None) -> None:
        """Count."""
        self.resets += 1

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        """Return the upper bounds."""
        return np.tile(np.asarray(self.spec.high, dtype=np.float32), (obs.num_rows, 1))


def test_a_shielded_policy_is_limited_and_counted_per_row_and_episode() -> None:
    spec = arm_spec("delta")
    policy = ShieldedPolicy(Pushing(spec), Shield(LIMITS, spec))
    obs = Observation(images={}, state=state(rows=2)[:, None], instruction=("push", "push"))
    policy.reset()
    for _ in range(4):
        sent = policy.select_action(obs)
    assert (sent <= np.asarray(LIMITS.velocity) / 20).all()
    assert sum(policy.shield.interventions(1).values()) == 4
    policy.reset([1])
    policy.select_action(obs)
    assert sum(policy.shield.interventions(0).values()) == 5
    assert sum(policy.shield.interventions(1).values()) == 1
    assert policy.points() == {}


def test_policy_and_shield_must_be_of_one_robot() -> None:
    with pytest.raises(SpecError, match="not the same robot"):
        ShieldedPolicy(Pushing(arm_spec("delta")), Shield(LIMITS, arm_spec("absolute")))
