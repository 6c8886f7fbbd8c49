"""Every preset at every size builds a full configuration that survives its own JSON file."""

from __future__ import annotations

import inspect

import pytest

from sinew.core.config import from_dict, to_dict
from sinew.presets import PRESETS
from sinew.presets.size import SIZES, Size, shorten
from sinew.run import RunConfig


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PRESETS)
def test_preset_survives_its_json(name: str, size: Size) -> None:
    config = PRESETS[name](size)
    assert from_dict(RunConfig, to_dict(config), name) == config
    assert config.name == name


@pytest.mark.parametrize("name", PRESETS)
def test_preset_says_what_to_expect(name: str) -> None:
    doc = inspect.cleandoc(PRESETS[name].__doc__ or "")
    assert "\nExpected: " in doc
    assert "\nTime: " in doc


@pytest.mark.parametrize("name", PRESETS)
def test_sizes_grow(name: str) -> None:
    configs = [PRESETS[name](size) for size in SIZES]
    widths, rates = [config.policy.width for config in configs], [config.optim.lr for config in configs]
    assert widths == sorted(set(widths))
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("name", [name for name in PRESETS if PRESETS[name]("tiny").env is not None])
def test_words_of_a_preset_exist_in_its_world(name: str) -> None:
    """The tasks it weighs and the points it grounds are the world's own."""
    config = PRESETS[name]("tiny")
    env = config.world.build(1)
    assert set(config.collect.mix or {}) <= set(env.tasks)
    truth = env.reset(env.states("train", env.tasks[0], 1)).privileged
    for point, size in config.policy.grounding.points:
        assert point in env.target_names
        assert truth[point].shape == (1, size)


@pytest.mark.parametrize("name", PRESETS)
def test_short_runs_change_length_only(name: str) -> None:
    config = PRESETS[name]("small")
    short = shorten(config)
    assert short.loop.updates < config.loop.updates
    assert (short.policy, short.env, short.optim) == (config.policy, config.env, config.optim)
