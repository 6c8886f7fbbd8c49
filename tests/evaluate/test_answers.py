from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.core.files import read_json, write_json
from sinew.evaluate.answers import CAPTION, Ask, Exam, Mark, Marks, by_kind, markdown, plain, pooled, sit, table

ASKS = tuple(
    Ask("level", "dark" if number < 2 else "light", number, "how bright ?", str(number)) for number in range(4)
)
EXAM = Exam(
    np.arange(4, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 3, 2, 2), np.uint8),
    ASKS,
    (Ask(CAPTION, "dark", 0, "describe", "a b"),),
    lambda wanted, said: len(set(wanted.split()) & set(said.split())) / len(wanted.split()),
)


def sees(images: NDArray[np.uint8], questions: Sequence[str]) -> list[str]:
    return [
        "a c" if text == "describe" else f" {int(image[0, 0, 0])}."
        for image, text in zip(images, questions, strict=True)
    ]


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_answers_are_counted_by_kind_and_group(batch: int) -> None:
    marks = sit(EXAM, sees, batch=batch)
    assert marks == (
        Mark("level", "dark", 2, 2.0, 2),
        Mark("level", "light", 2, 2.0, 2),
        Mark(CAPTION, "dark", 1, 0.5, 0),
    )
    wrong = sit(EXAM, lambda images, _questions: ["0"] * len(images), captions=False)
    assert [mark.exact for mark in wrong] == [1, 0]


def test_marks_add_up_over_seeds_and_kinds() -> None:
    marks = sit(EXAM, sees, captions=False)
    assert pooled([marks, marks])[0] == Mark("level", "dark", 4, 4.0, 4)
    assert by_kind(marks) == (Mark("level", "all", 4, 4.0, 4),)
    low, high = by_kind(marks)[0].interval
    assert low == pytest.approx(0.5101, abs=1e-4)
    assert high == 1.0


def test_a_table_shows_what_could_be_guessed(tmp_path: Path) -> None:
    marks = Marks(sit(EXAM, sees), blank=(Mark("level", "dark", 2, 1.0, 1),))
    marks.save(tmp_path / "answers.json")
    assert Marks.load(tmp_path / "answers.json") == marks
    rows = table(marks)
    assert rows[1] == ("level", "dark", "2", "1.000", "0.342 to 1.000", "0.500", "")
    assert rows[3][4] == "0.000 to the letter"
    assert markdown(rows).splitlines()[0].startswith("| asked for | scene | n |")
    write_json(tmp_path / "answers.json", {**read_json(tmp_path / "answers.json"), "schema_version": 9})
    with pytest.raises(DataError, match="schema 9, this sinew reads 1"):
        Marks.load(tmp_path / "answers.json")


def test_texts_are_compared_without_case_spaces_and_full_stop() -> None:
    assert plain("  The  Red Cube. ") == "the red cube"
