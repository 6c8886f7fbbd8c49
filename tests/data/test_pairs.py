from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from sinew.core.errors import ConfigError, DataError
from sinew.core.types import NumpyBatch, NumpyObservation, TextBatch
from sinew.data.mixture import Line
from sinew.data.pairs import Pair, WebRows, lines, paired
from sinew.data.text_lessons import Lesson


def robot(start: int = 0) -> Iterator[NumpyBatch]:
    for update in range(start, start + 50):
        obs = NumpyObservation(images={}, state=np.full((8, 1, 1), update, np.float32), instruction=("",) * 8)
        yield NumpyBatch(obs, np.zeros((8, 1, 1), np.float32), np.zeros((8, 1), np.bool_), np.ones(8, np.float32))


def texts(numbers: NDArray[np.int64], update: int) -> Lesson[NDArray[np.generic]]:
    del update
    rows = numbers[:, None]
    batch = TextBatch[NDArray[np.generic]](
        np.zeros((len(rows), 0, 3, 2, 2), np.uint8), rows, rows, rows >= 0, ids=numbers
    )
    return Lesson(batch, numbers, numbers)


@pytest.mark.parametrize("ratio", [0.25, 0.1, 1.0, 2.5, 1 / 3])
def test_the_ratio_is_exact_over_any_stretch_and_epochs_are_whole(ratio: float) -> None:
    web = WebRows(records=17, ratio=ratio, batch=8)
    drawn = [web.numbers(update) for update in range(300)]
    for stretch in (1, 7, 300):
        assert abs(sum(len(numbers) for numbers in drawn[:stretch]) - stretch * 8 * ratio) < 1
    times = np.bincount(np.concatenate(drawn), minlength=17)
    assert times.max() - times.min() <= 1
    assert web.epochs(300) == pytest.approx(times.mean())
    assert {len(numbers) for numbers in drawn} <= {int(8 * ratio), int(8 * ratio) + 1}


def test_both_kinds_begin_at_the_same_update_and_resume_there() -> None:
    web = WebRows(records=17, ratio=0.2, batch=8, seed=1)
    whole = list(paired(robot(), web, texts))
    late = list(paired(robot(30), web, texts, start=30))
    for one, two in zip(whole[30:], late, strict=False):
        assert one.robot.obs.state[0, 0, 0] == two.robot.obs.state[0, 0, 0]
        assert (one.web is None) == (two.web is None)
        if one.web is not None and two.web is not None:
            np.testing.assert_array_equal(one.web.text.input_ids, two.web.text.input_ids)
    assert {pair.num_rows for pair in whole} == {9, 10}


def test_an_update_without_records_has_none() -> None:
    pairs = list(paired(robot(), WebRows(records=3, ratio=0.05, batch=8), texts))
    assert {pair.num_rows for pair in pairs} == {8, 9}
    doubled = pairs[-1].map(lambda array: array)
    assert isinstance(doubled, Pair)
    assert all(pair.web is None for pair in paired(robot(), WebRows(0, 0.0, 8), texts))


def test_what_cannot_be_paired_is_refused() -> None:
    with pytest.raises(DataError, match="there are no records"):
        WebRows(records=0, ratio=0.1, batch=8)
    with pytest.raises(ConfigError, match="web ratio -1"):
        WebRows(records=5, ratio=-1, batch=8)


def test_the_table_has_the_records_with_their_share_and_epochs() -> None:
    web = WebRows(records=24, ratio=0.25, batch=8)
    found = lines([Line("lab", 12, 90, 3.0, 0.75, 2.4), Line("field", 4, 30, 1.0, 0.25, 2.4)], web, 30)
    assert [(line.name, line.share) for line in found] == [("lab", 0.6), ("field", 0.2), ("web", 0.2)]
    assert sum(line.share for line in found) == pytest.approx(1)
    assert [line.epochs for line in found] == [2.4, 2.4, 60 / 24]
    weighed = lines([Line("lab", 12, 90, 1.0, 1.0, 2.4, 0.5)], web, 30)
    assert weighed[-1].quality == 1.0
