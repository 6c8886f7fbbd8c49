from __future__ import annotations

import multiprocessing
import time

import pytest

from data.quality.dying import work
from sinew.data.quality.child import Died, answers


def test_all_answers_arrive_in_order() -> None:
    assert list(answers(work, 3, "well", patience=60)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("crash", "it was ended by SIGSEGV (free(): invalid pointer)"),
        ("raise", "it ended with status 1 (ValueError: nobody thought of this)"),
        ("eat", "it ended with status 1 (MemoryError)"),
    ],
)
def test_a_death_is_the_last_answer(end: str, words: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert list(answers(work, 1, end, patience=60)) == [0, Died(hung=False, words=words)]
    assert capfd.readouterr() == ("", "")


def test_a_child_that_hangs_is_ended() -> None:
    running = answers(work, 1, "hang", patience=5)
    assert next(running) == 0
    begin = time.monotonic()
    assert list(running) == [Died(hung=True, words="no answer for 5 s")]
    assert time.monotonic() - begin < 30
    assert multiprocessing.active_children() == []


def test_a_child_that_nobody_listens_to_any_more_is_ended() -> None:
    running = answers(work, 1, "hang", patience=60)
    assert next(running) == 0
    running.close()
    assert multiprocessing.active_children() == []
