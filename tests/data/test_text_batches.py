from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from data.formats.pairs import records
from sinew.core.chat import NO_LOSS, SHARE, Chat, Turn
from sinew.core.errors import DataError
from sinew.data.config import TextConfig
from sinew.data.formats.llava import Llava
from sinew.data.text_batches import TextRows, joined, text_batches, text_rows
from sinew.data.text_ingest import open_text
from sinew.data.text_store import TextStore


def codes(text: str) -> list[int]:
    return [ord(sign) for sign in text]


CHAT = Chat(codes, image_ids=(-7, -7), human="H:", gpt="G:", end_ids=(3,), start="S", start_ids=(2,))


@pytest.fixture(scope="module", params=["raw", "jpeg"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TextStore:
    path = tmp_path_factory.mktemp("pairs")
    Llava.write(path / "set", records(10))
    return open_text(path / "set", into=path, config=TextConfig(image_size=(8, 8), storage=request.param))


def test_only_answers_and_their_end_are_learned() -> None:
    turns = (Turn("human", "a<image>b"), Turn("gpt", "yes"), Turn("human", "c"), Turn("gpt", "no"))
    ids, labels = CHAT.tokenize(turns)
    assert ids == [2, *codes("SH:a"), -7, -7, *codes("bG:yes"), 3, *codes("H:cG:no"), 3]
    learned = [one for one, label in zip(ids, labels, strict=True) if label != NO_LOSS]
    assert learned == [*codes("yes"), 3, *codes("no"), 3]
    assert all(label in (NO_LOSS, one) for one, label in zip(ids, labels, strict=True))


def test_a_prompt_without_the_answer_has_the_same_ids() -> None:
    turns = (Turn("human", "a<image>b"), Turn("gpt", "yes"))
    whole, _ = CHAT.tokenize(turns)
    asked, labels = CHAT.tokenize([turns[0], Turn("gpt", "")])
    assert asked[:-1] == whole[: len(asked) - 1]
    assert set(labels[:-1]) == {NO_LOSS}


def test_the_first_stage_keeps_the_image_and_the_caption_only() -> None:
    chat = Chat(codes, image_ids=(-7,), end_ids=(3,), plain=True)
    turns = (Turn("human", "Describe it.\n<image>"), Turn("gpt", "A ramp."))
    assert chat.tokenize(turns) == ([-7, *codes("A ramp."), 3], [NO_LOSS, *codes("A ramp."), 3])


def test_rows_are_padded_and_cut(store: TextStore) -> None:
    rows = text_rows(store, [1, 2])
    assert rows.images.shape == (2, 2, 3, 8, 8)
    assert not rows.images[0].any()
    np.testing.assert_array_equal(rows.images[1, 1], store.record(2).images[1])
    batch = rows.tokenized(CHAT, max_tokens=1000, pad=9)
    lengths = [len(CHAT.tokenize(turns)[0]) for turns in rows.turns]
    assert batch.input_ids.shape == batch.labels.shape == (2, max(lengths))
    np.testing.assert_array_equal(batch.attention_mask.sum(axis=1), lengths)
    short = int(np.argmin(lengths))
    assert set(batch.input_ids[short, min(lengths) :]) == {9}
    assert set(batch.labels[short, min(lengths) :]) == {NO_LOSS}
    assert batch.ids is not None
    assert batch.ids.tolist() == [1, 2]
    cut = text_rows(store, [1]).tokenized(CHAT, max_tokens=6)
    assert cut.input_ids.shape == (1, 6)
    assert set(cut.labels[0]) == {NO_LOSS}


def test_a_batch_is_its_records_one_by_one(store: TextStore) -> None:
    numbers = [2, 0, 1, 2, 9]
    rows = text_rows(store, numbers)
    assert rows.num_rows == 5
    for row, number in enumerate(numbers):
        record = store.record(number)
        assert (rows.names[row], rows.turns[row]) == (record.id, record.turns)
        for place, image in enumerate(record.images):
            np.testing.assert_array_equal(rows.images[row, place], image)
        assert not rows.images[row, len(record.images) :].any()
    assert text_rows(store, [1]).images.shape == (1, 0, 3, 8, 8)


def test_images_that_do_not_fit_are_refused(store: TextStore) -> None:
    two = text_rows(store, [2])
    needed = 1 + len("SH:") + 2 + len(" or ") + 2
    assert two.tokenized(CHAT, max_tokens=needed).input_ids.shape == (1, needed)
    with pytest.raises(DataError, match=f"record two: its images end at token {needed}, {needed - 1} are allowed"):
        two.tokenized(CHAT, max_tokens=needed - 1)


def test_every_record_comes_once_an_epoch_and_resuming_needs_no_state(store: TextStore) -> None:
    batches = list(islice(text_batches(store, batch=5, seed=3), 4))
    assert sorted(np.concatenate([rows.ids for rows in batches[:2]])) == list(range(10))
    assert batches[0].ids.tolist() != batches[2].ids.tolist()
    for number in range(4):
        again = next(text_batches(store, batch=5, seed=3, start=number))
        np.testing.assert_array_equal(again.ids, batches[number].ids)
        np.testing.assert_array_equal(again.images, batches[number].images)
    assert next(text_batches(store, batch=5, seed=4)).ids.tolist() != batches[0].ids.tolist()


def test_held_out_records_are_not_trained_on(store: TextStore) -> None:
    train, held = store.split(0.2)
    seen = {int(one) for rows in islice(text_batches(store, batch=4, seed=0, among=train), 8) for one in rows.ids}
    assert seen == {*train.tolist()}
    assert not seen & {*held.tolist()}


def rows(*questions: int) -> TextRows:
    """Return records with so many questions each, about one image."""
    turns = tuple(
        tuple(
            turn
            for number in range(count)
            for turn in (Turn("human", f"{'<image>' * (not number)}q{number}"), Turn("gpt", str(number)))
        )
        for count in questions
    )
    images = np.arange(len(questions), dtype=np.uint8)[:, None, None, None, None] + np.zeros((1, 1, 3, 8, 8), np.uint8)
    return TextRows(tuple(map(str, range(len(questions)))), turns, images, np.arange(len(questions)))


def test_packed_rows_hold_what_is_shared_then_every_question() -> None:
    batch = rows(3, 1).packed(CHAT, max_tokens=200)
    shared = [2, *codes("SH:"), -7, -7]
    assert batch.input_ids[0, : len(shared)].tolist() == shared
    segments = np.asarray(batch.segment_ids)
    assert sorted(set(segments[0].tolist())) == [SHARE, SHARE + 1, SHARE + 2, SHARE + 3]
    assert sorted(set(segments[1].tolist())) == [0, SHARE, SHARE + 1]
    second = segments[0] == SHARE + 2
    assert batch.input_ids[0, second].tolist() == [*codes("q1G:1"), 3]
    assert batch.labels[0, second].tolist() == [NO_LOSS] * 4 + [ord("1"), 3]


def test_drawn_questions_do_not_repeat_and_follow_the_draws() -> None:
    def drawn(seed: int) -> list[int]:
        draws = np.random.default_rng(seed)
        return rows(9).packed(CHAT, max_tokens=200, pairs=4, draws=draws).input_ids[0].tolist()

    answers = [one for one in "012345678" if drawn(0).count(ord(one)) == 2]  # in its question and in its answer
    assert len(answers) == 4
    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)


def test_questions_that_do_not_fit_are_left_out_and_none_at_all_is_refused() -> None:
    batch = rows(3).packed(CHAT, max_tokens=6 + 2 * 6)
    assert sorted(set(np.asarray(batch.segment_ids)[0].tolist())) == [SHARE, SHARE + 1, SHARE + 2]
    with pytest.raises(DataError, match="record 0: none of its questions fits within 8 tokens"):
        rows(3).packed(CHAT, max_tokens=8)


def test_joined_rows_keep_every_record_and_its_image() -> None:
    packed = rows(3, 1, 1, 2).packed(CHAT, max_tokens=200)
    row = joined(packed, max_tokens=40)
    assert row.num_rows < packed.num_rows
    found = {}
    for number, segments in enumerate(np.asarray(row.segment_ids)):
        for record in sorted(set((segments // SHARE).tolist()) - {0}):
            kept = segments // SHARE == record
            image = int(row.images[number, record - 1, 0, 0, 0])
            found[image] = (row.input_ids[number, kept].tolist(), row.labels[number, kept].tolist())
    for number in range(4):
        mask = np.asarray(packed.attention_mask)[number]
        assert found[number] == (packed.input_ids[number, mask].tolist(), packed.labels[number, mask].tolist())
