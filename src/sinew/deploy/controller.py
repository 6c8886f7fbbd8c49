"""The robot loop: look, ask, guard, act, once a tick; whatever goes wrong ends in a brake."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import ConfigError, DataError, SinewError
from sinew.core.rollout import after
from sinew.deploy.loop_report import LoopLog, LoopReport, LoopTick
from sinew.deploy.watchdog import Question, ThreadWorker, Worker
from sinew.envs.rate import Clock, Rate, SystemClock
from sinew.envs.robot import FrameWatch, Reading, RobotIO
from sinew.safety.braking import NOT_FINITE, REASONS
from sinew.safety.hold import Guard

LEAST_SHARE = 0.2
"""Of a period: what frame and answer have left together, however late a tick begins."""

Q = TypeVar("Q")
A = TypeVar("A")


@dataclass(frozen=True)
class LoopConfig:
    """How patient the loop is.

    Attributes:
        budget: share of a tick in which the frame must have come and the policy must have answered.
        stale_ticks: how often in a row a frame may come again before the camera counts as frozen; 0 never looks.
        first_s: for the robot's first frame, and for the policy's first answer, which is not used [s].
        rest_s: for braking at the end [s].
    """

    budget: float = 0.8
    stale_ticks: int = 2
    first_s: float = 60.0
    rest_s: float = 3.0

    def __post_init__(self) -> None:
        """Refuse values that cannot be kept.

        Raises:
            ConfigError: a value is out of its range.
        """
        if not (0 < self.budget < 1 and self.stale_ticks >= 0 and min(self.first_s, self.rest_s) > 0):
            raise ConfigError(
                f"robot loop: budget {self.budget:g}, stale_ticks {self.stale_ticks}, first_s {self.first_s:g}, rest_s "
                f"{self.rest_s:g}. The budget is a share between 0 and 1, stale_ticks is 0 or more, times are above 0."
            )


class Controller:
    """Runs a policy on a robot.

    Reading, thinking and acting are apart: the robot is read in a thread, the policy answers in another or in a
    process of its own, and commands go out from the loop. So ``execute_action`` must be safe beside a camera call.

    Args:
        robot: what moves, at the rate of its spec.
        policy: answers questions: a ``PolicyProcess``, or a ``ThreadWorker`` around ``answering(policy)``.
        guard: has the last word: a ``Shield`` of the robot's spec, or ``Hold``.
        config: how patient to be.
        clock: tells the time; the machine's by default.
        on_tick: called after every command, in the loop's thread; must be quick.
        note: told what happens, one line each.

    Attributes:
        reader: reads the robot.
    """

    def __init__(
        self,
        robot: RobotIO,
        policy: Worker[Question, NDArray[np.float32]],
        guard: Guard,
        *,
        config: LoopConfig | None = None,
        clock: Clock | None = None,
        on_tick: Sequence[Callable[[LoopTick], None]] = (),
        note: Callable[[str], None] = print,
    ) -> None:
        self.robot, self.policy, self.guard, self.config = robot, policy, guard, config or LoopConfig()
        self.clock: Clock = clock or SystemClock()
        self.on_tick, self.note = tuple(on_tick), note
        self.reader: Worker[None, Reading] = ThreadWorker(lambda _: robot.read(), "camera")

    def run(self, seconds: float | None = None) -> LoopReport:
        """Run until time is up, the robot's episode is over, someone stops it, or something fails; then brake.

        Args:
            seconds: how long; None means until something else ends it.

        Raises:
            SinewError: the robot or the policy failed before the first command; then none was sent.
        """
        try:
            self._begin()
        except BaseException:
            self._survive(self.robot.stop)
            raise
        with stop_signals() as asked:
            ended, failed = "an error in this program.", True
            try:
                ended, failed = self._loop(seconds, asked), False
            except SinewError as error:
                ended = f"{str(error).rstrip('.')}."
            finally:
                rested = self._come_to_rest(ended)
                self.reader.close()
        return self._report(ended, failed=failed, rested=rested)

    def _begin(self) -> None:
        """See and think once without acting, so that the first tick is not slower than the others."""
        config = self.config
        self.rate = Rate(self.robot.spec.hz, self.clock)
        self.told: set[str] = set()
        self.robot.reset()
        self.watch = FrameWatch(config.stale_ticks)
        self.reader.ask(None)
        reading = self.reader.answer(config.first_s)
        if reading is None:
            raise DataError(f"the robot sent no frame in {config.first_s:g} s. Look at its cameras.")
        self.watch.frozen(reading.stamps)
        self.state: NDArray[np.float32] = reading.obs.state[:, 0]
        if not np.isfinite(self.state).all():
            raise DataError(f"the robot's first state is {self.state[0].tolist()}; all values must be finite.")
        self.policy.ask(Question(reading.obs, reset=True))
        if self.policy.answer(config.first_s) is None:
            raise DataError(f"the policy did not answer in {config.first_s:g} s. Try a smaller one, or more time.")
        self.guard.reset()
        self.forget, self.success = True, reading.success
        self.sent: NDArray[np.float32] | None = None
        self.log = LoopLog(self.note, self.rate.period)
        self.rate.start()

    def _loop(self, seconds: float | None, asked: list[int]) -> str:
        """Tick until something ends it, and return what."""
        while True:
            missed = self.rate.missed
            due = self.rate.wait()
            if seconds is not None and due - self.rate.began >= seconds - 1e-9:
                return "time is up."
            self.log.begun(self.rate.tick, self.rate.late_s, self.rate.missed - missed)
            if asked:
                return f"stopped by {signal.Signals(asked[0]).name}."
            if self.robot.estop():
                return "emergency stop."
            reading = self._tick(due)
            if reading is not None and (reading.over or reading.success):
                return "the robot says that it is done." if reading.success else "the robot says that it is over."

    def _tick(self, due: float) -> Reading | None:
        """Look, ask, guard, act."""
        period, now = self.rate.period, self.clock.now()
        deadline = max(due + self.config.budget * period, now + LEAST_SHARE * period)
        reading = self._put(self.reader, None, deadline)
        kind, text = self._judge(reading)
        wanted: NDArray[np.float32] | None = None
        if reading is not None and not kind:
            wanted = self._think(reading, deadline)
            if wanted is None:
                kind, text = "no answer", f"the policy did not answer within {100 * self.config.budget:g} % of a tick."
        actions = np.zeros((1, self.robot.spec.action_size)) if wanted is None else wanted[None]
        sent = self.guard.filter(actions, self.state, stale=np.array([bool(kind)]))[0]
        why = int(self.guard.last.reasons[0])
        if not kind and why == NOT_FINITE:
            kind, text = "not finite", f"the policy's action is {actions[0].tolist()}."
        if np.isfinite(sent).all():  # else there is nothing yet that could be held
            self.robot.send(sent)
        self.sent = sent
        self.forget, self.success = bool(kind), reading is not None and reading.success
        obs = None if reading is None else reading.obs
        tick = LoopTick(self.rate.tick, self._time(), obs, wanted, sent, REASONS[why], kind, self.success)
        self.log.done(tick, text)
        for watch in self.on_tick:
            watch(tick)
        return reading

    def _think(self, reading: Reading, deadline: float) -> NDArray[np.float32] | None:
        """Return the policy's action (A,), or None when it is not there in time."""
        obs = reading.obs if self.sent is None else after(reading.obs, self.robot.spec, self.sent[None])
        wanted = self._put(self.policy, Question(obs, self.forget), deadline)
        names = self.robot.spec.action
        if wanted is not None and wanted.shape != (len(names),):
            raise DataError(f"the policy's action has shape {wanted.shape}, the robot takes ({', '.join(names)}).")
        return wanted

    def _judge(self, reading: Reading | None) -> tuple[str, str]:
        """Return kind and sentence of what is wrong with a reading; both "" when it can be acted on."""
        if reading is None:
            return "late frame", f"no frame within {100 * self.config.budget:g} % of a tick."
        frozen = self.watch.frozen(reading.stamps)
        state = reading.obs.state[:, 0]
        if not np.isfinite(state).all():
            return "bad state", f"the robot's state is {state[0].tolist()}."
        self.state = state
        if frozen:
            return "frozen frame", f"the same frame {self.watch.ticks} times again from {', '.join(frozen)}."
        return "", ""

    def _put(self, worker: Worker[Q, A], question: Q, deadline: float) -> A | None:
        """Return a worker's answer by a deadline; what it still says to an earlier question is thrown away."""
        if worker.busy and worker.answer(0.0) is None:
            return None
        worker.ask(question)
        return worker.answer(deadline - self.clock.now())

    def _come_to_rest(self, ended: str) -> bool:
        """Brake at once and until the axes rest, then use the robot's own brake; return whether it took all that."""
        self.log.close()
        rested = False
        try:
            for count in range(math.ceil(self.config.rest_s / self.rate.period)):
                sent = self.guard.brake(self.state)[0]
                taken = not np.isfinite(sent).all() or self._survive(lambda command=sent: self.robot.send(command))
                if count == 0:
                    self.note(f"{self._time():.2f} s: {ended} Braking to rest.")
                rested = taken and self.guard.at_rest()
                if rested:
                    break
                due = self.rate.wait()
                self._survive(lambda due=due: self._refresh(due))
        finally:
            rested = self._survive(self.robot.stop) and rested
        return rested

    def _refresh(self, due: float) -> None:
        """Take the state of this tick if it comes in time; braking goes on without."""
        reading = self._put(self.reader, None, due + self.config.budget * self.rate.period)
        if reading is not None and np.isfinite(reading.obs.state).all():
            self.state = reading.obs.state[:, 0]

    def _survive(self, act: Callable[[], None]) -> bool:
        """Do what may fail; return whether it did not, and tell each failure once."""
        try:
            act()
        except SinewError as error:
            if str(error) not in self.told:
                self.told.add(str(error))
                self.note(f"{self._time():.2f} s: while braking: {error}")
            return False
        return True

    def _time(self) -> float:
        return self.clock.now() - self.rate.began

    def _report(self, ended: str, *, failed: bool, rested: bool) -> LoopReport:
        log = self.log
        return LoopReport(
            ended=ended,
            failed=failed,
            success=self.success,
            ticks=log.ticks,
            seconds=log.last_s - log.first_s,
            hz=self.robot.spec.hz,
            rate_hz=log.rate_hz,
            late=log.late,
            worst_late_s=log.worst_late_s,
            missed=self.rate.missed,
            faults=tuple(log.faults),
            interventions=self.guard.interventions(),
            rested=rested,
        )


@contextmanager
def stop_signals() -> Generator[list[int]]:
    """Note Ctrl-C and SIGTERM in a list instead of being interrupted by them; the third one acts as usual.

    Outside the main thread, where Python allows no handlers, it does nothing.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before: dict[signal.Signals, Any] = {}

    def give_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def take(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if len(asked) > 1:
            give_back()

    before.update({number: signal.signal(number, take) for number in (signal.SIGINT, signal.SIGTERM)})
    try:
        yield asked
    finally:
        give_back()
