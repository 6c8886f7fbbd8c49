"""What every combination of parts promises, run over a cover of all pairs that fit; the rest is in the benchmark."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest

import matrix
from matrix import PARTS, UNFIT, Combination
from sinew.core.errors import ConfigError

COVER = matrix.pairwise()
PLAIN = {part: names[0] for part, names in PARTS.items()}


@pytest.mark.parametrize("combination", COVER, ids=lambda combination: "-".join(combination.values()))
def test_a_combination_learns_acts_is_kept_and_runs_on_meta(combination: Combination, tmp_path: Path) -> None:
    matrix.check(matrix.policy_of(combination), tmp_path)


def test_the_cover_holds_every_pair_that_fits() -> None:
    covered = {pair for combination in COVER for pair in itertools.combinations(combination.items(), 2)}
    for one, two in itertools.combinations(PARTS, 2):
        for name, other in itertools.product(PARTS[one], PARTS[two]):
            unfit = frozenset({(one, name), (two, other)}) in UNFIT
            assert (((one, name), (two, other)) in covered) is not unfit
    assert len(COVER) <= 96


@pytest.mark.parametrize(
    ("pair", "reason"), UNFIT.items(), ids=["-".join(f"{part}={name}" for part, name in sorted(pair)) for pair in UNFIT]
)
def test_a_pair_that_does_not_fit_is_refused_with_the_reason(pair: frozenset[tuple[str, str]], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        matrix.policy_of({**PLAIN, **dict(pair)})


@pytest.mark.parametrize("setting", ["projector", "fusion"])
def test_heads_that_do_not_divide_the_width_are_refused(setting: str) -> None:
    names = {"projector": "attention", "fusion": "transformer"}
    config = matrix.config_of({**PLAIN, "fusion": "cross", setting: names[setting]})
    part = dataclasses.replace(getattr(config, setting), heads=3)
    with pytest.raises(ConfigError, match=f"do not divide .*width 16. Set --policy.{setting}.heads"):
        matrix.built(dataclasses.replace(config, **{setting: part}))
