"""What a configuration turns into."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sinew.core.errors import ConfigError
from sinew.presets.tabletop import preset
from sinew.run import RunConfig
from sinew.run.parts import run_path, stills_path, store_path
from sinew.run.training import check


def test_workers_do_not_change_where_a_run_lies() -> None:
    config = preset("tiny")
    assert run_path(config, Path()) == run_path(dataclasses.replace(config, workers=7), Path())
    assert run_path(config, Path()) != run_path(dataclasses.replace(config, seed=7), Path())


def test_runs_share_demonstrations_unless_these_differ() -> None:
    config = preset("tiny")
    longer = dataclasses.replace(config, loop=dataclasses.replace(config.loop, updates=7))
    assert store_path(config, Path()) == store_path(longer, Path())
    fewer = dataclasses.replace(config, collect=dataclasses.replace(config.collect, episodes=7))
    assert store_path(config, Path()) != store_path(fewer, Path())


def test_seeds_share_stills_and_stills_change_no_demonstrations() -> None:
    config = preset("tiny")
    assert stills_path(config, Path()) == stills_path(dataclasses.replace(config, seed=7), Path())
    more = dataclasses.replace(config, collect=dataclasses.replace(config.collect, stills=7))
    assert stills_path(config, Path()) != stills_path(more, Path())
    assert store_path(config, Path()) == store_path(more, Path())


@pytest.mark.parametrize(("name", "value"), [("execute", 9), ("execute", 0), ("history", 0)])
def test_settings_that_cannot_work_are_refused_before_anything_is_written(name: str, value: int) -> None:
    config = RunConfig()
    with pytest.raises(ConfigError, match=name):
        check(dataclasses.replace(config, policy=dataclasses.replace(config.policy, **{name: value})))
