from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from recipes.line_world import demonstrations
from recipes.toy_pairs import POLICY, body
from sinew.data.mixture import Mixture, Part
from sinew.run import RunConfig
from sinew.run.bodies import WorldBody, lines_of


def test_a_world_gives_demonstrations_and_stills_with_the_statistics_of_the_first(tmp_path: Path) -> None:
    first, more = demonstrations(tmp_path / "a", 6), demonstrations(tmp_path / "b", 12)
    with ThreadPoolExecutor(1) as pool:
        known = WorldBody(RunConfig(policy=POLICY), (first, more), pool)
        assert known.sentences == {"go left", "go right"}
        assert known.counts == {"episodes": 6, "frames": first.num_frames, "stills": more.num_frames}
        assert known.windows().num_frames == first.num_frames + more.num_frames
        policy = body()
        known.fit(policy)
    mean = np.asarray(first.column("state")).mean(axis=0)
    np.testing.assert_allclose(policy.normalizer.get_buffer("state_mean").numpy(), mean, atol=1e-5)


def test_lines_of_one_source_and_of_several_say_how_often_each_frame_is_seen(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        windows = WorldBody(RunConfig(policy=POLICY), (demonstrations(tmp_path / "a", 6),), pool).windows()
    (line,) = lines_of(windows, batch=8, updates=10, seed=0)
    assert (line.name, line.episodes, line.share, line.epochs) == ("robot", 6, 1.0, 80 / windows.num_frames)
    mixed = Mixture((Part("lab", windows, 1.0), Part("field", windows, 3.0)))
    assert [found.share for found in lines_of(mixed, batch=8, updates=10, seed=0)] == [0.25, 0.75]
