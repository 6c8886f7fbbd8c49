from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recipes.toy_texts import record, toy_store, toy_vlm
from sinew.core.chat import NO_LOSS
from sinew.data.text_lessons import TextLessons, exchanges, learned
from sinew.recipes.config import PretrainConfig


def lessons(path: Path, seed: int = 0) -> TextLessons:
    vlm, manner = toy_vlm(), PretrainConfig(exchanges="rest", apart=1, balance="answer")
    among = np.arange(6, 24)
    return TextLessons(toy_store(path), vlm.chat(), manner, max_tokens=64, pad=vlm.speech.pad, seed=seed, among=among)


def test_a_lesson_follows_from_its_records_and_the_update_alone(tmp_path: Path) -> None:
    one, two = lessons(tmp_path), lessons(tmp_path)
    places = np.array([0, 3, 5])
    first, again, later = one.lesson(places, 4), two.lesson(places, 4), one.lesson(places, 9)
    np.testing.assert_array_equal(first.text.input_ids, again.text.input_ids)
    assert not np.array_equal(first.text.input_ids, later.text.input_ids)  # other questions of the same records
    assert first.ids is not None
    assert first.ids.tolist() == [6, 9, 11]
    assert first.num_rows == 3
    assert first.weights.sum() == pytest.approx(1)
    assert (first.text.labels.ravel()[first.places] != NO_LOSS).all()


def test_exchanges_are_the_first_the_rest_or_all() -> None:
    turns = record(0).turns
    assert [turn.text for turn in exchanges(turns, "first")] == ["<image>\ndescribe it", "dark red"]
    assert [turn.text for turn in exchanges(turns, "rest")] == ["<image>\nwhat colour ?", "red", "how bright ?", "dark"]
    assert exchanges(turns, "all") == turns


def test_weights_count_every_id_or_every_answer_alike() -> None:
    labels = np.full((2, 6), NO_LOSS)
    labels[0, 1:4], labels[0, 5], labels[1, 0], labels[1, 2:4] = 7, 8, 9, 5
    places, weights = learned(labels, by_answer=False)
    assert places.tolist() == [1, 2, 3, 5, 8, 9]  # the first id of a row follows nothing
    assert weights.tolist() == pytest.approx([1 / 6] * 6)
    _, weights = learned(labels, by_answer=True)
    assert weights.tolist() == pytest.approx([1 / 9] * 3 + [1 / 3] + [1 / 6] * 2)
