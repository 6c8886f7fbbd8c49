"""The run card says what a reader needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.test_diagnose import FAULTY
from engine.test_forecast import MEMORY
from sinew.core.rundir import RunDir
from sinew.engine import runcard
from sinew.engine.config import OptimConfig
from sinew.engine.diagnose import diagnose
from sinew.engine.forecast import Cost, Disk, Forecast, Stop, Time
from sinew.engine.incidents import Incidents
from sinew.engine.risks import Risk

ROWS = FAULTY["mode collapse"]()

FORECAST = Forecast(
    memory=MEMORY,
    time=Time(100, 0.5, data_s=0.1, stops=(Stop(50, 11.0, "tryouts"),)),
    disk=Disk({"checkpoints": 2048}, free=2**30),
    cost=Cost(watts=360.0, source="--cost.watts", per_hour=2.0),
    parts=(("policy", 6, 2), ("policy.head", 6, 2)),
    checked=("12 of 12 episodes looked through: no faults found",),
)
PLAN = runcard.Plan(
    purpose="Follows words.",
    command="sinew train x | tee log",
    config=OptimConfig(lr=0.25),
    forecast=FORECAST,
    data={"episodes": 12},
    risks=[Risk("critical", "the disk may fill up", "make room", "make more room")],
)


def test_card_holds_plan_and_then_results_once(tmp_path: Path) -> None:
    rundir = RunDir(tmp_path)
    runcard.start(rundir, PLAN)
    card = rundir.card.read_text()
    for wanted in (
        "Follows words.",
        "Expected time: about 1:01, 1:01 of it training.",
        "| time of an update | 500 ms, 20 % of it making the batch |",
        "| energy | 0.0061 kWh at 360 W (--cost.watts) |",
        "| cost | 0.03 USD |",
        "| episodes | 12 |",
        "| policy | 6 | 2 |",
        "| `lr` | 0.25 |",
        "the disk may fill up\n  - Mitigation: make room\n  - Recovery: make more room",
        "- [x] Dataset validated: 12 of 12 episodes looked through",
        "- [ ] Loss decreasing\n",
    ):
        assert wanted in card
    rundir.metrics.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    incidents = Incidents(rundir.incidents)
    for update in (40, 60):
        incidents.add("rollback", update, "Going back.")
        runcard.finish(rundir, results={"success": "9/10"}, best_update=75, elapsed_s=10)
    card = rundir.card.read_text()
    assert card.count("## Results") == 1
    assert "| success | 9/10 |" in card
    assert "| 40 | rollback | Going back. |\n| 60 | rollback | Going back. |\n" in card
    found = diagnose(ROWS)
    assert found
    for finding in found:
        assert f"- **{finding.title}**, update {finding.update}: {finding.evidence}\n" in card
        assert f"  - Likely cause: {finding.cause}\n  - Remedy: {finding.remedy}\n" in card
    assert "- [x] Best checkpoint identified: `checkpoints/best` is update 75" in card
    assert "- [x] Risks encountered logged: 2 incidents" in card


def test_a_run_that_fails_still_says_how_far_it_was(tmp_path: Path) -> None:
    rundir = RunDir(tmp_path)
    runcard.start(rundir, PLAN)
    rows = [{"update": number, "loss": float(number), "skipped": 4} for number in range(1, 21)]
    rundir.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(RuntimeError), runcard.kept(rundir):
        raise RuntimeError
    card = rundir.card.read_text()
    assert "- [ ] Loss decreasing: 1.5 in the first tenth, 19.5 in the last" in card
    assert "- [ ] No NaN values: 4 updates skipped" in card


def test_a_time_that_was_not_measured_is_not_made_up() -> None:
    unknown = Forecast(MEMORY, Time(100, 0.0), Disk({}, 1), Cost())
    assert "not measured" in runcard.expected(unknown)
    assert "time of an update" not in dict(runcard.forecast_rows(unknown))
