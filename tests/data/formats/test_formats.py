from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from data.formats.drawn import data_sets, differences
from sinew.data.episode import Episode
from sinew.data.formats import WRITERS
from sinew.data.formats.ingest import open_source, read_episode, robot_of

CASES = [(name, storage) for name, kind in WRITERS.items() for storage in kind.storages]


def round_trip(name: str, storage: str, episodes: list[Episode]) -> None:
    """Write episodes, read them and compare every bit."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "set.data"
        WRITERS[name].write(path, episodes, storage=storage)
        source = open_source(path)
        spec = robot_of(source)
        assert spec == episodes[0].spec
        assert len(source.lengths) == len(episodes)
        for number, episode in enumerate(episodes):
            assert differences(episode, read_episode(source, number, spec), exact=storage != "video") == []


@pytest.mark.parametrize(("name", "storage"), CASES)
def test_whatever_an_episode_holds_comes_back_from_every_writer(name: str, storage: str) -> None:
    @settings(
        max_examples=8,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def check(data: st.DataObject) -> None:
        round_trip(name, storage, data.draw(data_sets(cameras=storage != "none")))

    check()
