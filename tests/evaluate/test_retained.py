from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sinew.core.errors import DataError
from sinew.core.files import write_json
from sinew.evaluate.answers import Ask, Exam, Mark
from sinew.evaluate.retained import Retention, chances, table


def marks(colour: int, side: int, caption: float = 3.0) -> tuple[Mark, ...]:
    return (
        Mark("colour", "one", 10, colour, colour),
        Mark("side", "two", 30, side, side),
        Mark("caption", "one", 4, caption, 0),
    )


CHANCE = (("colour", "one", 0.2), ("side", "two", 0.5))


def test_a_share_is_of_what_was_above_chance() -> None:
    found = Retention(marks(10, 24), CHANCE, marks(6, 15))
    colour, side, caption = found.kept
    assert colour.share == pytest.approx((0.6 - 0.2) / (1.0 - 0.2))
    assert side.share == pytest.approx(0.0)  # at chance again: nothing is left
    assert (caption.chance, caption.share) == (0.0, 1.0)
    total = found.total()
    # chance (10 x 0.2 + 30 x 0.5) / 40, before 34 / 40, after 21 / 40: by hand
    assert (total.chance, total.before, total.after, total.n) == pytest.approx((0.425, 0.85, 0.525, 40))
    assert total.share == pytest.approx(0.1 / 0.425)
    assert found.total(["one"]).share == pytest.approx(0.5)


def test_what_was_never_known_has_no_share() -> None:
    found = Retention(marks(2, 16), CHANCE, marks(9, 30))
    assert [row.share for row in found.kept][:2] == [None, None]
    assert table(found)[1][-1] == ""


def test_chance_is_the_most_frequent_answer() -> None:
    asks = [Ask("colour", "one", 0, "?", answer) for answer in ("red", "red", "blue", "green")]
    asks += [Ask("relation", "two", 0, "?", answer) for answer in ("yes", "no")]
    exam = Exam(np.zeros((1, 3, 2, 2), np.uint8), tuple(asks))
    assert chances(exam) == (("colour", "one", 0.5), ("relation", "two", 0.5))


def test_it_survives_its_file_and_ends_the_table_with_the_total(tmp_path: Path) -> None:
    found = Retention(marks(10, 24), CHANCE, marks(8, 21))
    found.save(tmp_path / "kept.json")
    assert Retention.load(tmp_path / "kept.json") == found
    assert [row[0] for row in table(found)] == ["asked for", "colour", "side", "caption", "all questions"]
    assert table(found)[1] == ("colour", "one", "10", "0.200", "1.000", "0.800", "75 %")


def test_files_that_are_none_of_ours_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    write_json(path, {"schema_version": 9})
    with pytest.raises(DataError, match="schema 9, this sinew reads 1"):
        Retention.load(path)
    write_json(path, {"schema_version": 1, "before": [{"kind": "colour"}], "after": [], "chance": []})
    with pytest.raises(DataError, match="damaged"):
        Retention.load(path)
    with pytest.raises(DataError, match="no question was asked before and after"):
        Retention(marks(1, 1), CHANCE).total()
