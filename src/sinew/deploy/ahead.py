"""Predicting ahead: the next chunk is computed while this one is executed, for policies slower than a tick."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import ConfigError
from sinew.core.types import NumpyObservation
from sinew.deploy.load import LoadedPolicy
from sinew.deploy.watchdog import Question, Worker

LONGEST = 64
"""Ticks that are kept for a policy with history while it computes."""


@dataclass(frozen=True)
class Ticks:
    """What a policy is asked when it predicts ahead.

    Attributes:
        obs: all ticks since the last question, the newest last; one row, T = 1 each.
        reset: it must forget what came before them.
    """

    obs: tuple[NumpyObservation, ...]
    reset: bool = False


def predicting(policy: LoadedPolicy) -> Callable[[Ticks], NDArray[np.float32]]:
    """Return a function from what was seen to the chunk (H, A) that begins at the newest tick."""

    def answer(question: Ticks) -> NDArray[np.float32]:
        if question.reset:
            policy.reset()
        full = question.obs[-1]
        for obs in question.obs:
            full = policy.history.push(obs.public())
        return policy.predict_action_chunk(full)[0]

    return answer


class Ahead:
    """Answers every tick at once from the chunk at hand, while a worker predicts the next one.

    A chunk that was asked for at tick t is there at tick t + d. Its first d steps are those that the chunk before it
    has filled meanwhile, so they are skipped: what is executed at a tick was always predicted for that tick. The next
    chunk is asked for as long before ``execute`` steps have passed as the last one took. When no step is left there is
    no answer, and the loop brakes, as it does for any policy that is too slow; a chunk asked for while nothing was
    executed begins with its first step.

    This is the plain form (asynchronous inference, Shukor 2025, arXiv:2506.01844): chunks are not made to agree where
    one follows the other, as real-time chunking does (Black 2025, arXiv:2506.07339); the shield limits that step.

    Args:
        worker: returns chunks (H, A); see ``predicting``.
        execute: steps of a chunk that are run, counted from the tick it was asked for.

    Attributes:
        busy: never; a question is put every tick.
    """

    busy = False

    def __init__(self, worker: Worker[Ticks, NDArray[np.float32]], execute: int) -> None:
        if execute < 1:
            raise ConfigError(f"predicting ahead: execute is {execute}, at least 1 step of a chunk is run.")
        self.worker, self.execute = worker, execute
        self._ticks: deque[NumpyObservation] = deque(maxlen=LONGEST)
        self._reset = self._first = True
        self._chunk: NDArray[np.float32] | None = None
        self._sent = 0  # actions that were executed
        self._began = self._asked = 0  # of these, when the chunk at hand was asked for, and the one that is on its way
        self._outdated = False  # the one on its way
        self._delay = execute  # ticks that the last one took; unknown at first, so ask at once

    def ask(self, question: Question) -> None:
        """Take a tick, and have the next chunk predicted where it is time."""
        if question.reset:
            self._forget()
        self._ticks.append(question.obs)
        self._collect(0.0)
        self._order()

    def answer(self, timeout_s: float) -> NDArray[np.float32] | None:
        """Return this tick's action (A,), or None where no chunk has a step for it in time.

        Raises:
            SinewError: the policy failed or died.
        """
        if self._step is None:
            self._collect(timeout_s)
        if self._step is None:
            self._order()
            return None
        assert self._chunk is not None
        action = self._chunk[self._step]
        self._sent += not self._first  # the loop's first answer only warms up
        self._first = False
        return action

    def close(self) -> None:
        """Let the worker end."""
        self.worker.close()

    @property
    def _step(self) -> int | None:
        """Which step of the chunk at hand this tick is, None where there is none."""
        if self._chunk is None:
            return None
        step = self._sent - self._began
        return step if step < len(self._chunk) else None

    def _order(self) -> None:
        """Ask for the next chunk, unless one is on its way or there is time."""
        played = self._sent - self._began
        waits = self._step is not None and played < self.execute - self._delay - 1
        if self.worker.busy or waits:
            return
        self.worker.ask(Ticks(tuple(self._ticks), self._reset))
        self._ticks.clear()
        self._reset, self._outdated, self._asked = False, False, self._sent

    def _collect(self, timeout_s: float) -> None:
        """Take the chunk that was on its way, if it is there in time and still fits."""
        if not self.worker.busy:
            return
        chunk = self.worker.answer(timeout_s)
        if chunk is None or self._outdated:
            return
        self._chunk, self._began = chunk, self._asked
        if not self._first:  # while it warmed up nothing was executed that could be counted
            self._delay = self._sent - self._asked

    def _forget(self) -> None:
        """Drop what was planned before a brake; a plan that begins where the robot still is stays good."""
        if self._sent != self._began:
            self._chunk = None
        self._outdated = self._outdated or self._sent != self._asked
        self._ticks.clear()
        self._reset = True
