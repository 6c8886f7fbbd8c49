"""Work elsewhere: answers, deadlines, failures and deaths, in a thread and in a process."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from deploy.slider_policy import SliderPolicy, missing
from envs.fake_robot import SPEC
from sinew.core.errors import CheckpointError, SinewError
from sinew.core.types import Observation
from sinew.deploy.watchdog import PolicyProcess, Question, ThreadWorker, WorkerError, answering

OBS = Observation(images={}, state=np.zeros((1, 1, 2), np.float32), instruction=("go",))


def told(word: str) -> Question:
    """Return a question with that instruction."""
    return Question(dataclasses.replace(OBS, instruction=(word,)))


def test_a_thread_answers_and_hands_over_what_was_raised() -> None:
    def half(value: int) -> float:
        if value == 7:
            raise CheckpointError("seven")
        return 2 / value

    worker = ThreadWorker(half, "halver")
    worker.ask(4)
    assert worker.busy
    assert worker.answer(60.0) == 0.5
    assert not worker.busy
    worker.ask(0)
    with pytest.raises(WorkerError, match=r"the halver failed\. ZeroDivisionError"):
        worker.answer(60.0)
    worker.ask(7)
    with pytest.raises(CheckpointError, match="seven"):
        worker.answer(60.0)
    worker.close()


def test_a_thread_that_hangs_holds_up_nobody() -> None:
    released = threading.Event()
    worker = ThreadWorker(lambda _: released.wait(60.0), "camera")
    worker.ask(None)
    start = time.monotonic()
    assert worker.answer(0.02) is None
    assert worker.answer(0.0) is None
    assert time.monotonic() - start < 30.0
    assert worker.busy
    released.set()
    assert worker.answer(60.0) is True
    worker.close()


def test_a_question_may_ask_to_forget() -> None:
    policy = SliderPolicy()
    answer = answering(policy)
    assert answer(told("go")).tolist() == pytest.approx([0.01, 0.0])
    assert answer(Question(OBS, reset=True)).tolist() == pytest.approx([0.01, 1.0])


@pytest.fixture
def process() -> Iterator[PolicyProcess]:
    """A policy in its own process."""
    found = PolicyProcess(SliderPolicy)
    yield found
    found.close()


def test_a_process_answers_fails_hangs_and_is_killed(process: PolicyProcess) -> None:
    assert process.spec == SPEC
    assert process.pid != os.getpid()
    process.ask(told("go"))
    assert process.answer(60.0).tolist() == pytest.approx([0.01, 0.0])  # type: ignore[union-attr]
    process.ask(told("fail"))
    with pytest.raises(WorkerError, match=r"the policy failed\. ValueError: wrong shape"):
        process.answer(60.0)
    process.ask(told("sleep"))
    assert process.answer(0.01) is None
    assert process.busy
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match=r"the policy's process died \(killed by signal 9\)"):
        process.answer(60.0)
    with pytest.raises(WorkerError, match="died"):
        process.ask(told("go"))


def test_a_process_that_ends_by_itself_is_noticed(process: PolicyProcess) -> None:
    process.ask(told("die"))
    with pytest.raises(WorkerError, match=r"died \(exit code 3\)"):
        process.answer(60.0)


def test_a_policy_that_cannot_be_loaded_says_why() -> None:
    with pytest.raises(SinewError, match="nowhere: no such directory"):
        PolicyProcess(missing)
