from __future__ import annotations

import json
from pathlib import Path

import pytest

from sinew.core.errors import ConfigError, DataError
from sinew.evaluate.config import EvaluateConfig
from sinew.evaluate.summary import Evaluation, evaluate, from_json, load, pool_runs, save, to_json
from toy import ToyConfig

CONFIG = EvaluateConfig(episodes=12, extra=6, rows=4)


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluate("expert", ToyConfig(stuck=4), CONFIG, seed=3)


def test_an_evaluation_records_what_was_measured_on_what(evaluation: Evaluation) -> None:
    assert evaluation.num_episodes == 2 * (12 + 6 * 6)
    assert evaluation.episodes_per_s == pytest.approx(evaluation.num_episodes / evaluation.seconds)
    assert evaluation.env["stuck"] == 4
    assert set(evaluation.versions) == {"python", "sinew", "numpy", "torch"}
    assert "cores" in evaluation.machine
    assert evaluation.rates()[0].rate == 9 / 12
    assert any(check.ok for check in evaluation.checks())


def test_the_record_survives_json(evaluation: Evaluation, tmp_path: Path) -> None:
    save(evaluation, tmp_path / "evaluation.json")
    assert load(tmp_path / "evaluation.json") == evaluation
    assert from_json(json.loads(json.dumps(to_json(evaluation)))) == evaluation


def test_json_tells_rates_and_checks_to_other_readers(evaluation: Evaluation) -> None:
    summary = to_json(evaluation)["summary"]
    assert summary["rates"][0]["rate"] == 9 / 12
    assert {"what", "task", "value", "bar", "ok"} <= set(summary["checks"][0])


def test_a_newer_record_is_refused(evaluation: Evaluation) -> None:
    with pytest.raises(DataError, match=r"schema version 99.*Upgrade"):
        from_json({**to_json(evaluation), "schema_version": 99}, "old.json")


def test_something_else_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a valid Evaluation"):
        from_json({"hello": 1})


def test_the_same_run_pooled_with_itself_keeps_its_rate(evaluation: Evaluation) -> None:
    for one, three in zip(evaluation.rates(), pool_runs([evaluation] * 3), strict=True):
        assert (three.rate, three.n, three.seeds) == (one.rate, 3 * one.n, 3)
