"""The run card says what a reader needs."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from sinew.core.rundir import RunDir
from sinew.engine import runcard
from sinew.engine.config import OptimConfig


def test_card_holds_plan_and_then_results_once(tmp_path: Path) -> None:
    module = nn.Linear(3, 2)
    module.bias.requires_grad_(False)
    plan = runcard.Plan(
        purpose="Follows words.",
        command="sinew train x | tee log",
        config=OptimConfig(lr=0.25),
        data={"episodes": 12},
        expected_s=61.0,
        risks=["the disk may fill up"],
    )
    runcard.start(RunDir(tmp_path), plan, {"policy": module})
    card = (tmp_path / "README.md").read_text()
    for wanted in (
        "Follows words.",
        "about 1:01",
        "| episodes | 12 |",
        "| policy | 6 | 2 |",
        "| `lr` | 0.25 |",
        "disk",
    ):
        assert wanted in card
    for incidents in (["one"], ["two"]):
        runcard.finish(RunDir(tmp_path), results={"success": "9/10"}, best_update=75, elapsed_s=10, incidents=incidents)
    card = (tmp_path / "README.md").read_text()
    assert card.count("## Results") == 1
    assert "| success | 9/10 |" in card
    assert "- two" in card
    assert "update 75" in card
