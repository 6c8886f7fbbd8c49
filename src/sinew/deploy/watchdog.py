"""Work that must be done by a deadline, done where it cannot hold up the one who waits for it."""

from __future__ import annotations

import multiprocessing
import queue
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import SinewError
from sinew.core.types import NumpyObservation, Policy, RobotSpec

Q_contra = TypeVar("Q_contra", contravariant=True)
A_co = TypeVar("A_co", covariant=True)
Q = TypeVar("Q")
A = TypeVar("A")


class WorkerError(SinewError):
    """Whoever was to do the work failed or died."""


class Worker(Protocol[Q_contra, A_co]):
    """Answers one question at a time, elsewhere."""

    @property
    def busy(self) -> bool:
        """Whether a question waits for its answer."""
        ...

    def ask(self, question: Q_contra) -> None:
        """Put a question; only when not busy."""
        ...

    def answer(self, timeout_s: float) -> A_co | None:
        """Return the answer if it is there within a time [s], else None.

        Raises:
            SinewError: the worker failed or died.
        """
        ...

    def close(self) -> None:
        """Let the worker end; never waits long."""
        ...


@dataclass(frozen=True)
class Question:
    """What a policy is asked each tick.

    Attributes:
        obs: one row, T = 1.
        reset: it must forget what came before: an episode starts, or its plan was not carried out.
    """

    obs: NumpyObservation
    reset: bool = False


def answering(policy: Policy) -> Callable[[Question], NDArray[np.float32]]:
    """Return a function from a question to the action (A,)."""

    def answer(question: Question) -> NDArray[np.float32]:
        if question.reset:
            policy.reset()
        return policy.select_action(question.obs)[0]

    return answer


class ThreadWorker(Generic[Q, A]):
    """Runs a function in a daemon thread, so that a call that hangs holds up nobody, not even the end.

    Args:
        function: called with each question.
        name: for messages.
    """

    def __init__(self, function: Callable[[Q], A], name: str) -> None:
        self.name, self.busy = name, False
        self._function = function
        self._questions: queue.SimpleQueue[tuple[Q] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[A | None, Exception | None]] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True, name=name).start()

    def ask(self, question: Q) -> None:
        """Put a question."""
        self.busy = True
        self._questions.put((question,))

    def answer(self, timeout_s: float) -> A | None:
        """Return the answer if it is there in time, else None.

        Raises:
            SinewError: the function raised it.
            WorkerError: it raised something else.
        """
        try:
            answer, error = (
                self._answers.get(timeout=max(timeout_s, 0.0)) if timeout_s > 0 else self._answers.get_nowait()
            )
        except queue.Empty:
            return None
        self.busy = False
        if isinstance(error, SinewError):
            raise error
        if error is not None:
            raise WorkerError(f"the {self.name} failed. {type(error).__name__}: {error}") from error
        return answer

    def close(self) -> None:
        """Let the thread end after what it is doing."""
        self._questions.put(None)

    def _work(self) -> None:
        while (question := self._questions.get()) is not None:
            try:
                self._answers.put((self._function(question[0]), None))
            except Exception as error:  # noqa: BLE001  (carried over to whoever waits)
                self._answers.put((None, error))


class PolicyProcess:
    """A policy in a process of its own: neither its computing nor its death can stop the loop.

    Args:
        load: makes the policy; called in the new process, so it must be picklable, such as
            ``functools.partial(load_policy, path)``.
        timeout_s: to start and load within.
        answer: makes of the policy what answers questions; picklable too.

    Attributes:
        spec: the robot that the policy was made for.
        execute: steps of a chunk that it runs before it predicts again.
        pid: of the process.

    Raises:
        SinewError: it could not be loaded.
    """

    def __init__(
        self,
        load: Callable[[], Any],
        *,
        timeout_s: float = 600.0,
        answer: Callable[[Any], Callable[[Any], Any]] = answering,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._channel, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(load, answer, theirs), daemon=True, name="policy")
        self._process.start()
        theirs.close()
        self.pid = self._process.pid or 0
        self.busy = True
        loaded = self.answer(timeout_s)
        if not isinstance(loaded, tuple):
            self.close()
            raise WorkerError(
                f"the policy was not loaded within {timeout_s:g} s. Give it more time, or a faster device."
            )
        self.spec: RobotSpec = loaded[0]
        self.execute: int = loaded[1]

    def ask(self, question: Any) -> None:  # noqa: ANN401  (what ``answer`` takes)
        """Put a question.

        Raises:
            WorkerError: the process died.
        """
        self.busy = True
        try:
            self._channel.send(question)
        except OSError as error:
            raise self._death() from error

    def answer(self, timeout_s: float) -> Any | None:  # noqa: ANN401  (spec and execute first, then actions)
        """Return the answer if it is there in time, else None.

        Raises:
            WorkerError: the policy failed, or its process died.
        """
        try:
            if not self._channel.poll(max(timeout_s, 0.0)):
                return None
            answer, trouble = self._channel.recv()
        except (EOFError, OSError) as error:
            raise self._death() from error
        self.busy = False
        if trouble:
            raise WorkerError(trouble)
        return answer

    def close(self) -> None:
        """End the process."""
        self._channel.close()
        self._process.join(0.5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(1.0)

    def _death(self) -> WorkerError:
        self._process.join(0.02)
        code = self._process.exitcode
        how = "" if code is None else f" (killed by signal {-code})" if code < 0 else f" (exit code {code})"
        return WorkerError(f"the policy's process died{how}")


def _serve(load: Callable[[], Any], answer_of: Callable[[Any], Callable[[Any], Any]], channel: Connection) -> None:
    """Load a policy and answer until the other end is gone; runs in the new process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        policy = load()
    except SinewError as error:
        channel.send((None, str(error)))
        return
    answer = answer_of(policy)
    queue = getattr(policy, "queue", None)
    channel.send(((policy.spec, 1 if queue is None else queue.execute), ""))
    while True:
        try:
            question = channel.recv()
        except (EOFError, OSError):
            return
        try:
            channel.send((answer(question), ""))
        except BrokenPipeError:
            return
        except Exception as error:  # noqa: BLE001  (carried over to the loop, which brakes and says it)
            channel.send((None, f"the policy failed. {type(error).__name__}: {error}"))
