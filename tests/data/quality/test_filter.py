from __future__ import annotations

from pathlib import Path

import pytest

from data.quality.healthy import healthy, report_of, store_of
from sinew.core.errors import ConfigError, DataError
from sinew.data.dataset import open_unmasked
from sinew.data.mask import Part
from sinew.data.quality.filter import FilterConfig, choose, cleaned
from sinew.data.quality.findings import Finding

ERROR = Finding("nan", "error", "no number", episode=0, frames=(3, 3))
COPY = Finding("duplicate", "warning", "a copy", episode=1)
IDLE = Finding("idle", "warning", "stands", episode=2, frames=(0, 19))
FOUND = report_of([ERROR, COPY, IDLE], qualities=(0.0, 0.0, 0.5), idle=((0, 0), (0, 0), (20, 4)))


def test_errors_and_copies_are_left_out_and_idle_ends_cut_off() -> None:
    mask = choose(FOUND, FilterConfig(), hz=10.0)
    assert mask.num_episodes == 3
    assert mask.episodes == {
        0: Part(None, 0.0, ("nan",)),
        1: Part(None, 0.0, ("duplicate",)),
        2: Part((17, 39), 1.0, ("idle",)),
    }
    assert mask.kept(FOUND.lengths) == {2: (17, 39)}
    assert mask.qualities() == (0.0, 0.0, 1.0)


def test_settings_decide_what_goes() -> None:
    assert choose(FOUND, FilterConfig(trim=False), hz=10.0).episodes[2] == Part((0, 40), 0.5, ("idle",))
    assert choose(FOUND, FilterConfig(drop=()), hz=10.0).episodes[1].keep == (0, 40)
    assert choose(FOUND, FilterConfig(margin_s=9.0), hz=10.0).episodes[2].keep == (0, 40)
    with pytest.raises(DataError, match=r"all 3 episodes would be left out \(nan in 1"):
        choose(FOUND, FilterConfig(drop=("duplicate", "idle")), hz=10.0)
    with pytest.raises(DataError, match="all 3 episodes"):
        choose(FOUND, FilterConfig(trim=False, quality=0.6), hz=10.0)


def test_a_trimmed_failure_stays_one() -> None:
    found = report_of([IDLE], qualities=(1.0, 1.0, 0.25), successes=(True, True, False), idle=((0, 0), (0, 0), (20, 0)))
    assert choose(found, FilterConfig(), hz=10.0).episodes[2].quality == 0.5


def test_a_fault_within_what_is_kept_still_counts() -> None:
    camera = Finding("camera", "warning", "black", episode=2, frames=(28, 38))
    found = report_of([IDLE, camera], qualities=(1.0, 1.0, 0.2), idle=((0, 0), (0, 0), (20, 4)))
    assert choose(found, FilterConfig(), hz=10.0).episodes[2].quality == pytest.approx(0.5)


def test_wrong_settings_and_unreadable_data_are_refused() -> None:
    for wrong in (FilterConfig(drop=("ugly",)), FilterConfig(quality=2.0), FilterConfig(margin_s=-1.0)):
        with pytest.raises(ConfigError, match="kinds are unreadable, crash"):
            choose(FOUND, wrong, hz=10.0)
    with pytest.raises(DataError, match="cut off"):
        choose(report_of([Finding("unreadable", "error", "it is cut off")], lengths=()), FilterConfig(), hz=10.0)


def test_the_copy_holds_what_is_kept(tmp_path: Path) -> None:
    dataset = open_unmasked(store_of(tmp_path / "s", [healthy(number) for number in range(3)]))
    (only,) = cleaned(dataset, choose(FOUND, FilterConfig(), hz=10.0))
    assert (only.num_frames, only.id) == (22, "train/2[17:39]")
    assert (only.state == healthy(2).state[17:39]).all()
    only.check()
