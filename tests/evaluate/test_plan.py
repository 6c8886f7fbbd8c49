from __future__ import annotations

from dataclasses import replace

import pytest

from sinew.core.errors import DataError
from sinew.evaluate.config import EvaluateConfig
from sinew.evaluate.plan import CONTROLS, plan, plan_quick
from toy import ToyConfig, ToyVecEnv

CONFIG = EvaluateConfig(episodes=10, extra=4, quick=3)


class Patchy(ToyVecEnv):
    """A world in which only every third state has another goal, none a silent one, and one split more."""

    splits = ("train", "seen", "far")

    def variant(self, state_id: str, name: str) -> str | None:
        if name == "silent" or int(state_id.rpartition("/")[2]) % 3:
            return None
        return super().variant(state_id, name)


class Short(ToyVecEnv):
    """A world with seven states of each kind."""

    def states(self, split: str, task: str, count: int, start: int = 0) -> tuple[str, ...]:
        return super().states(split, task, max(0, min(count, 7 - start)), start)


def test_the_plan_lists_every_task_under_every_condition() -> None:
    listings = plan(ToyConfig().build(1), CONFIG)
    kinds = [(one.split, one.task, one.control) for one in listings]
    assert kinds == [("seen", task, control) for control in ("none", *CONTROLS) for task in ("left", "right")]
    assert {one.control: len(one.state_ids) for one in listings} == {"none": 10, **dict.fromkeys(CONTROLS, 4)}
    assert not any(state.startswith("train") for one in listings for state in one.state_ids)


def test_controls_share_the_seen_states_they_change() -> None:
    by_kind = {(one.task, one.control): one.state_ids for one in plan(ToyConfig().build(1), CONFIG)}
    seen = by_kind["left", "none"][:4]
    assert by_kind["left", "random"] == by_kind["left", "blank"] == by_kind["left", "expert"] == seen
    assert by_kind["left", "wrong"] == tuple(f"{state}~wrong" for state in seen)


def test_states_without_a_variant_are_replaced_and_counted() -> None:
    listings = plan(Patchy(ToyConfig(), 1), CONFIG)
    other = next(one for one in listings if one.control == "other")
    assert other.state_ids == tuple(f"seen/left/{number}~other" for number in (0, 3, 6, 9))
    assert other.skipped == 6
    assert not any(one.control == "silent" for one in listings)


def test_other_splits_get_the_extra_episodes() -> None:
    far = [one for one in plan(Patchy(ToyConfig(), 1), CONFIG) if one.split == "far"]
    assert [(one.task, len(one.state_ids)) for one in far] == [("left", 4), ("right", 4)]


def test_controls_can_be_left_out() -> None:
    assert {one.control for one in plan(ToyConfig().build(1), replace(CONFIG, controls=False))} == {"none"}


def test_quick_states_are_seen_ones_that_the_plan_does_not_use() -> None:
    env = ToyConfig().build(1)
    quick = {state for one in plan_quick(env, CONFIG) for state in one.state_ids}
    assert len(quick) == 6
    assert not quick & {state for one in plan(env, CONFIG) for state in one.state_ids}


def test_too_few_states_are_an_error_that_says_how_many() -> None:
    with pytest.raises(DataError, match=r"lists 7 initial states of left \(seen\).*10 were asked"):
        plan(Short(ToyConfig(), 1), CONFIG)
