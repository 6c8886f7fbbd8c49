"""Which episodes GRPO's rounds are made of."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

from recipes.line_world import POLICY, WORLD, demonstrations, small_policy
from sinew.models.config import GaussianHeadConfig
from sinew.recipes.config import GrpoConfig
from sinew.recipes.group_rounds import GroupRounds

CONFIG = GrpoConfig(scenes=10, group=3, focus=0.8)


def test_scenes_go_to_tasks_whose_success_varies(tmp_path: Path) -> None:
    rounds = GroupRounds(WORLD, CONFIG, 2, tmp_path, 0)

    def tasks(rates: dict[str, float]) -> Counter[str]:
        return Counter(task for job in rounds.jobs(1, tmp_path, rates) for task in job.tasks)

    assert tasks({}) == {"left": 5, "right": 5}
    assert tasks({"left": 0.5, "right": 1.0}) == {"left": 9, "right": 1}
    even = GroupRounds(WORLD, dataclasses.replace(CONFIG, focus=0.0), 2, tmp_path, 0)
    assert (
        Counter(task for job in even.jobs(1, tmp_path, {"left": 0.5, "right": 1.0}) for task in job.tasks)["left"] == 5
    )


def test_a_round_says_how_each_task_went(tmp_path: Path) -> None:
    config = dataclasses.replace(POLICY, head=GaussianHeadConfig())
    policy = small_policy(demonstrations(tmp_path / "store"), config=config)
    found = GroupRounds(WORLD, dataclasses.replace(CONFIG, train="all"), 2, tmp_path / "rounds", 0)(0, policy, {})
    assert Counter(found.tasks) == {"left": 15, "right": 15}
    for task, rate in found.rates.items():
        mine = [outcome for name, outcome in zip(found.tasks, found.outcomes, strict=True) if name == task]
        assert rate == sum(outcome.success for outcome in mine) / 15
        assert all(task in outcome.state_id for outcome in mine)
