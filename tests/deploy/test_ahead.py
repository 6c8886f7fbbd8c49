"""A slow policy that predicts ahead keeps the pace: every tick gets the step that was predicted for it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from deploy.test_controller import Bench
from envs.fake_robot import Inline
from sinew.core.errors import ConfigError
from sinew.core.history import History
from sinew.deploy.ahead import Ahead, Ticks, predicting
from sinew.deploy.controller import LoopConfig
from toy_policy import look, tiny_policy

HORIZON = 8


def wave(tick: int) -> float:
    """Return what shall be done at a tick: no two neighbours alike."""
    return 0.01 * (1 + tick * tick % 5)


class SlowBench(Bench):
    """A slider whose policy sees which tick it is and needs a while for a chunk that says what each tick shall do."""

    def __init__(self, thinks_s: float, *, execute: int = 6) -> None:
        super().__init__(shield=False, config=LoopConfig(stale_ticks=0))
        self.questions: list[tuple[int, Ticks]] = []
        self.think_s = lambda tick: 1.0 if tick < 0 else thinks_s
        slow = Inline(self._chunk, self.clock, lambda: self.think_s(self.tick))
        self.controller.policy = Ahead(slow, execute)

    def _chunk(self, question: Ticks) -> NDArray[np.float32]:
        self.questions.append((self.tick, question))
        first = max(self.tick, 0)
        return np.array([[wave(first + step), 1.0] for step in range(HORIZON)], np.float32)


@pytest.mark.parametrize(("thinks_s", "execute"), [(0.0, 6), (0.05, 6), (0.15, 6), (0.25, 8), (0.34, 4), (0.34, 2)])
def test_a_policy_slower_than_a_tick_fills_every_tick_with_the_step_for_it(thinks_s: float, execute: int) -> None:
    bench = SlowBench(thinks_s, execute=execute)
    report = bench.run(5.0)
    assert (report.ticks, report.faults, report.missed) == (50, (), 0)
    np.testing.assert_allclose(bench.moves()[:50], [wave(tick) for tick in range(50)], atol=1e-7)
    assert len(bench.questions) >= 50 // max(execute, 6)


def test_the_same_policy_brakes_without_predicting_ahead() -> None:
    bench = Bench()
    bench.think_s = lambda tick: 0.25 if tick % 4 == 0 else 0.0
    assert len(bench.run(3.0).faults) > 5


def test_a_policy_slower_than_its_chunk_brakes_and_begins_again_with_first_steps() -> None:
    bench = SlowBench(0.95, execute=8)
    report = bench.run(6.0)
    assert {fault.kind for fault in report.faults} == {"no answer"}
    moves, asked = bench.moves()[:60], [tick for tick, _ in bench.questions]
    starts = [tick for tick in range(1, 60) if moves[tick] > 0 and moves[tick - 1] == 0]
    assert len(starts) >= 2
    for start in starts:  # the chunk that was seen at rest begins where it begins, however long it took
        seen = max(tick for tick in asked if tick <= start - 9)
        assert moves[start : start + 3] == pytest.approx([wave(seen + step) for step in range(3)], abs=1e-7)


def test_after_a_fault_nothing_of_the_old_plan_is_executed() -> None:
    bench = SlowBench(0.25)
    bench.look_s = lambda tick: 0.45 if tick == 20 else 0.0
    report = bench.run(5.0)
    back = report.faults[-1].tick + report.faults[-1].ticks
    seen, question = next((tick, question) for tick, question in bench.questions if tick > 20)
    assert (question.reset, len(question.obs)) == (True, 1)
    moves = bench.moves()
    assert (moves[20:back] == 0.0).all()
    assert moves[back : back + 3] == pytest.approx([wave(seen + step) for step in range(3)], abs=1e-7)


def test_history_is_what_the_policy_would_have_seen_tick_by_tick() -> None:
    policy, ticks = tiny_policy("mlp"), [look(1) for _ in range(3)]
    answer = predicting(policy)
    seen = [dataclasses.replace(obs, state=obs.state + n) for n, obs in enumerate(ticks)]
    first = answer(Ticks((seen[0],), reset=True))
    second = answer(Ticks((seen[1], seen[2])))
    history = History(2)
    np.testing.assert_array_equal(first, policy.predict_action_chunk(history.push(seen[0]))[0])
    history.push(seen[1])
    np.testing.assert_array_equal(second, policy.predict_action_chunk(history.push(seen[2]))[0])
    assert first.shape == (3, 2)


def test_at_least_one_step_is_executed() -> None:
    with pytest.raises(ConfigError, match="execute is 0"):
        Ahead(SlowBench(0.0).controller.policy.worker, 0)  # type: ignore[attr-defined]
