from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from data.quality.healthy import SPEC, healthy, put, store_of
from sinew.data.dataset import open_any
from sinew.data.value_stats import ValueStats, column_stats


def by_name(found: tuple[ValueStats, ...]) -> dict[str, ValueStats]:
    return {f"{item.column}.{item.name}": item for item in found}


def test_numbers_are_those_of_all_frames_at_once(tmp_path: Path) -> None:
    episodes = [healthy(number, 20 + number) for number in range(4)]
    found = by_name(column_stats(open_any(store_of(tmp_path / "s", episodes)), images=True))
    state = np.concatenate([episode.state for episode in episodes]).astype(np.float64)
    elbow = found["state.elbow"]
    assert (elbow.unit, elbow.count, elbow.missing) == ("rad", 86, 0)
    assert elbow.mean == pytest.approx(state[:, 1].mean(), rel=1e-12)
    assert elbow.std == pytest.approx(state[:, 1].std(), rel=1e-12)
    assert (elbow.low, elbow.high) == (state[:, 1].min(), state[:, 1].max())
    np.testing.assert_array_equal(elbow.quantiles, np.quantile(state[:, 1], (0.01, 0.1, 0.5, 0.9, 0.99)))
    pixels = np.concatenate([episode.images["wrist"][:, 1] for episode in episodes]).astype(np.float64)
    green = found["images.wrist.green"]
    assert (green.mean, green.low, green.high) == (pytest.approx(pixels.mean()), pixels.min(), pixels.max())
    assert green.std == pytest.approx(pixels.std())
    assert "executed.elbow" not in found


def test_a_small_spread_far_from_zero_is_not_lost(tmp_path: Path) -> None:
    state = put(healthy(0).state, (slice(None), 2), 1e4 + np.arange(40) % 2 * 0.01)
    found = by_name(column_stats(open_any(store_of(tmp_path / "s", [healthy(0, state=state)]))))
    assert found["state.z"].std == pytest.approx(state[:, 2].astype(np.float64).std(), rel=1e-9)


def test_missing_numbers_are_counted_and_left_out(tmp_path: Path) -> None:
    target = put(np.arange(80, dtype=np.float32).reshape(40, 2), (slice(0, 30), 0), np.nan)
    nothing = np.full((40, 1), np.nan, np.float32)
    from sinew.data.store import Store

    store = Store.create(tmp_path / "s", SPEC, ("place", "nothing"))
    store.append([healthy(0, targets={"place": target, "nothing": nothing}, executed=healthy(1).action)])
    store.unlock()
    found = by_name(column_stats(open_any(store.path)))
    assert (found["targets.place.0"].count, found["targets.place.0"].missing) == (10, 30)
    assert found["targets.place.0"].low == 60
    assert np.isnan(found["targets.nothing.0"].mean)
    assert found["executed.elbow"].count == 40
    assert dataclasses.asdict(found["executed.grip"])["unit"] == "1"
