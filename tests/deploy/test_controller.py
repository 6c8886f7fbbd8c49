"""Every fault of the robot loop ends in a brake, on a clock that tests move."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from envs.fake_robot import SPEC, FakeClock, Inline, Slider, Stepping
from sinew.core.errors import ConfigError, DataError, SinewError
from sinew.deploy.controller import Controller, LoopConfig
from sinew.deploy.loop_report import LoopReport, LoopTick
from sinew.deploy.watchdog import Question, WorkerError
from sinew.envs.robot import RobotIO
from sinew.safety.hold import Hold
from sinew.safety.limits import ShieldLimits
from sinew.safety.shield import Shield

LIMITS = ShieldLimits(("dx",), ("m",), (0.5,), (1.0,))
"""0.05 m a tick at most, changed by 0.01 m a tick: five ticks to rest."""


class Bench:
    """A controller on a slider whose policy wants to go forward, with places to put faults in."""

    def __init__(self, robot: Stepping | None = None, *, shield: bool = True, config: LoopConfig | None = None) -> None:
        self.clock = FakeClock()
        self.robot: Any = robot or Slider()
        self.asked: list[Question] = []
        self.lines: list[str] = []
        self.ticks: list[LoopTick] = []
        self.think_s: Callable[[int], float] = lambda tick: 0.0
        self.look_s: Callable[[int], float] = lambda tick: 0.0
        self.act: Callable[[int], NDArray[np.float32]] = lambda tick: np.array([0.05, 1.0], np.float32)
        self.pressed: Callable[[int], bool] = lambda tick: False
        port = RobotIO(self.robot, SPEC, "go", stop_asked=lambda: self.pressed(self.tick))
        policy = Inline(self._answer, self.clock, lambda: self.think_s(self.tick))
        self.controller = Controller(
            port,
            policy,
            Shield(LIMITS, SPEC) if shield else Hold(SPEC),
            config=config,
            clock=self.clock,
            on_tick=(self.ticks.append,),
            note=self.lines.append,
        )
        self.controller.reader = Inline(lambda _: port.read(), self.clock, lambda: self.look_s(self.tick))

    @property
    def tick(self) -> int:
        """The tick that runs; -1 before the first."""
        return self.controller.rate.tick

    def _answer(self, question: Question) -> NDArray[np.float32]:
        self.asked.append(question)
        return self.act(self.tick)

    def run(self, seconds: float = 3.0) -> LoopReport:
        """Run and return the report."""
        return self.controller.run(seconds)

    def moves(self) -> NDArray[np.float32]:
        """Return the commanded displacements per tick [m]."""
        return np.array([command[0] for command in self.robot.commands])

    def assert_brakes(self, first: int) -> None:
        """Assert that the moves from a tick on get smaller as fast as the limit allows, down to rest."""
        moves = self.moves()[first - 1 :]
        slower = np.flatnonzero(moves <= 1e-6)[0]
        assert slower <= 6
        np.testing.assert_allclose(np.diff(moves[:slower]), -0.01, atol=1e-5)


def test_without_faults_every_tick_is_the_policys_and_the_end_is_a_brake() -> None:
    bench = Bench()
    report = bench.run()
    assert (report.ended, report.failed, report.rested) == ("time is up.", False, True)
    assert (report.ticks, report.faults, report.late, report.missed) == (30, (), 0, 0)
    assert report.rate_error < 1e-9
    assert dict(report.interventions) == {"acceleration": 5, "stale": 6}
    np.testing.assert_allclose(bench.moves()[4:30], 0.05, atol=1e-6)
    bench.assert_brakes(30)
    assert bench.moves()[-1] == pytest.approx(0.0, abs=1e-9)
    assert bench.robot.stops == 1
    assert bench.lines == ["3.00 s: time is up. Braking to rest."]
    assert {command[1] for command in bench.robot.commands} == {1.0}  # the gripper keeps what it holds


def test_the_policy_is_told_what_the_shield_let_through() -> None:
    bench = Bench()
    bench.run(1.0)
    told = [question.obs.prev_actions for question in bench.asked]
    assert told[0] is None
    assert told[1] is None
    sent = [tick.sent for tick in bench.ticks[:9]]
    np.testing.assert_array_equal(np.stack([one[0, 0] for one in told[2:] if one is not None]), np.stack(sent))
    assert not np.allclose(sent[0], bench.ticks[0].wanted)


def test_the_first_answer_warms_up_and_is_not_sent() -> None:
    bench = Bench()
    bench.think_s = lambda tick: 20.0 if tick < 0 else 0.0
    report = bench.run(1.0)
    assert (report.ticks, report.faults) == (10, ())
    assert [question.reset for question in bench.asked] == [True, True, *[False] * 9]


@pytest.mark.parametrize("hangs_s", [0.09, 0.25, 0.52])
def test_a_policy_that_does_not_answer_in_time_is_braked_and_asked_anew(hangs_s: float) -> None:
    bench = Bench()
    bench.think_s = lambda tick: hangs_s if tick == 10 else 0.0
    report = bench.run()
    (fault,) = report.faults
    assert (fault.kind, fault.tick) == ("no answer", 10)
    assert fault.ticks == {0.09: 1, 0.25: 3, 0.52: 6}[hangs_s]
    assert bench.moves()[10] == pytest.approx(0.04, abs=1e-5)
    back = next(tick for tick in bench.ticks if tick.number == 10 + fault.ticks)
    assert (back.fault, back.wanted is not None) == ("", True)
    assert bench.asked[-1].reset is False
    assert sum(question.reset for question in bench.asked) == 3  # warm-up, first tick, after the fault
    assert bench.lines[0].startswith("1.08 s, tick 10: the policy did not answer within 80 % of a tick. Braking.")
    assert "going on after" in bench.lines[1]


def test_a_late_answer_is_never_used() -> None:
    bench = Bench()
    bench.think_s = lambda tick: 0.25 if tick == 10 else 0.0
    bench.act = lambda tick: np.array([-0.05 if 10 <= tick <= 12 else 0.05, 1.0], np.float32)
    bench.run()
    assert (bench.moves() > -1e-6).all()


def test_a_camera_that_hangs_is_braked_for_while_commands_go_on() -> None:
    bench = Bench()
    bench.look_s = lambda tick: 0.45 if tick == 10 else 0.0
    report = bench.run()
    (fault,) = report.faults
    assert (fault.kind, fault.tick, fault.ticks) == ("late frame", 10, 5)
    bench.assert_brakes(10)
    assert report.ticks == 30
    assert all(tick.obs is None for tick in bench.ticks[10:15])


def test_a_frozen_camera_is_braked_for_at_its_second_repeat() -> None:
    bench = Bench()
    frozen = np.zeros((4, 6, 3), np.uint8)
    live = bench.robot.get_camera_image
    bench.robot.get_camera_image = lambda: frozen if 10 <= bench.tick < 15 else live()
    (fault,) = bench.run().faults
    assert (fault.kind, fault.tick, fault.ticks) == ("frozen frame", 12, 3)
    np.testing.assert_allclose(bench.moves()[11:16], [0.05, 0.04, 0.03, 0.02, 0.03], atol=1e-5)
    assert "the same frame 2 times again from front. Braking." in bench.lines[0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_action_that_is_no_number_is_braked_for(bad: float) -> None:
    bench = Bench()
    bench.act = lambda tick: np.array([bad if 10 <= tick < 13 else 0.05, 1.0], np.float32)
    (fault,) = bench.run().faults
    assert (fault.kind, fault.tick, fault.ticks) == ("not finite", 10, 3)
    np.testing.assert_allclose(bench.moves()[10:13], [0.04, 0.03, 0.02], atol=1e-5)


def test_a_state_that_is_no_number_is_braked_for() -> None:
    bench = Bench()
    live = bench.robot.get_state
    bench.robot.get_state = lambda: [float("nan"), 0.0] if bench.tick == 10 else live()
    (fault,) = bench.run().faults
    assert (fault.kind, fault.tick) == ("bad state", 10)
    assert bench.moves()[10] == pytest.approx(0.04, abs=1e-5)


def test_a_policy_that_dies_is_braked_for_at_once_and_ends_the_loop() -> None:
    bench = Bench()

    def dies(tick: int) -> NDArray[np.float32]:
        if tick == 10:
            raise WorkerError("the policy's process died (killed by signal 9)")
        return np.array([0.05, 1.0], np.float32)

    bench.act = dies
    report = bench.run()
    assert (report.failed, report.ended) == (True, "the policy's process died (killed by signal 9).")
    assert report.rested
    assert report.ticks == 10
    bench.assert_brakes(10)
    assert "died (killed by signal 9). Braking to rest." in bench.lines[-1]


def test_a_driver_that_fails_ends_the_loop_with_a_brake() -> None:
    bench = Bench()
    live = bench.robot.get_state

    def fails() -> list[float]:
        if bench.tick == 10:
            raise OSError("cable")
        return live()

    bench.robot.get_state = fails
    report = bench.run()
    assert report.failed
    assert "reading from the robot failed. OSError: cable" in report.ended
    bench.assert_brakes(10)
    assert bench.robot.stops == 1


def test_a_robot_that_cannot_be_read_any_more_is_braked_to_rest_all_the_same() -> None:
    bench = Bench()
    live = bench.robot.get_state

    def fails() -> list[float]:
        if bench.tick >= 10:
            raise OSError("cable")
        return live()

    bench.robot.get_state = fails
    report = bench.run()
    assert (report.failed, report.rested) == (True, True)
    bench.assert_brakes(10)
    assert sum("while braking: reading from the robot failed" in line for line in bench.lines) == 1


def test_a_command_that_fails_once_is_sent_again() -> None:
    bench = Bench()
    live = bench.robot.execute_action

    def fails(action: NDArray[np.float32]) -> None:
        if bench.tick == 10:
            raise OSError("bus")
        live(action)

    bench.robot.execute_action = fails
    report = bench.run()
    assert (report.failed, report.rested) == (True, True)
    assert "commanding the robot failed. OSError: bus" in report.ended
    assert bench.moves()[-1] == pytest.approx(0.0, abs=1e-9)


def test_an_action_of_another_size_ends_the_loop_with_a_brake() -> None:
    bench = Bench()
    bench.act = lambda tick: np.zeros(3 if tick == 10 else 2, np.float32)
    report = bench.run()
    assert report.failed
    assert "has shape (3,), the robot takes (dx, gripper)" in report.ended
    assert report.rested


def test_a_robot_that_takes_no_command_is_stopped_by_its_own_brake_and_said_so() -> None:
    bench = Bench()
    live = bench.robot.execute_action

    def fails(action: NDArray[np.float32]) -> None:
        if bench.tick >= 10:
            raise OSError("cable")
        live(action)

    bench.robot.execute_action = fails
    report = bench.run()
    assert (report.failed, report.rested) == (True, False)
    assert "THE ROBOT DID NOT TAKE" in report.lines()[0]
    assert bench.robot.stops == 1


def test_an_emergency_stop_brakes_in_its_own_tick() -> None:
    bench = Bench()
    bench.pressed = lambda tick: tick >= 10
    report = bench.run()
    assert (report.ended, report.failed, report.ticks) == ("emergency stop.", False, 10)
    bench.assert_brakes(10)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_brakes_and_handlers_are_given_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    bench = Bench()

    def act(tick: int) -> NDArray[np.float32]:
        if tick == 10:
            os.kill(os.getpid(), number)
        return np.array([0.05, 1.0], np.float32)

    bench.act = act
    report = bench.run()
    assert report.ended == f"stopped by {number.name}."
    assert report.ticks == 11
    bench.assert_brakes(11)
    assert signal.getsignal(number) is before


def test_an_error_of_this_program_is_raised_after_the_brake() -> None:
    bench = Bench()

    def bug(tick: LoopTick) -> None:
        if tick.number == 10:
            raise KeyError("bug")

    bench.controller.on_tick = (bug,)
    with pytest.raises(KeyError):
        bench.run()
    bench.assert_brakes(11)
    assert bench.robot.stops == 1


def test_without_a_shield_faults_stop_dead() -> None:
    bench = Bench(shield=False)
    bench.think_s = lambda tick: 0.25 if tick == 10 else 0.0
    bench.run()
    np.testing.assert_allclose(bench.moves()[9:14], [0.05, 0.0, 0.0, 0.0, 0.05], atol=1e-6)


def test_a_robot_that_is_done_ends_the_loop() -> None:
    bench = Bench(Stepping())
    bench.robot.commands = bench.robot.slider.commands
    report = bench.run()
    assert (report.success, report.ended) == (True, "the robot says that it is done.")
    assert report.ticks < 10


def test_slow_drivers_make_late_ticks_and_are_told() -> None:
    bench = Bench()
    live = bench.robot.execute_action

    def slow(action: NDArray[np.float32]) -> None:
        bench.clock.time += 0.27 if bench.tick == 10 else 0.0
        live(action)

    bench.robot.execute_action = slow
    report = bench.run()
    assert (report.late, report.missed) == (1, 1)
    assert report.worst_late_s == pytest.approx(0.17)
    assert bench.lines[0] == "tick 12: 170 ms late, 1 passed over."


def test_nothing_is_sent_when_it_cannot_begin() -> None:
    silent = Bench(config=LoopConfig(first_s=2.0))
    silent.look_s = lambda tick: 3.0
    with pytest.raises(DataError, match="no frame in 2 s"):
        silent.run()
    mute = Bench(config=LoopConfig(first_s=2.0))
    mute.think_s = lambda tick: 3.0
    with pytest.raises(SinewError, match="did not answer in 2 s"):
        mute.run()
    lost = Bench()
    lost.robot.get_state = lambda: [float("nan"), 0.0]
    with pytest.raises(DataError, match="all values must be finite"):
        lost.run()
    assert [len(bench.robot.commands) for bench in (silent, mute, lost)] == [0, 0, 0]


@pytest.mark.parametrize("changes", [{"budget": 0.0}, {"budget": 1.0}, {"stale_ticks": -1}, {"rest_s": 0.0}])
def test_impossible_patience_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="robot loop"):
        LoopConfig(**changes)
