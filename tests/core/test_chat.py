from __future__ import annotations

from sinew.core.chat import NO_LOSS, Chat, Turn


def codes(text: str) -> list[int]:
    return [ord(sign) for sign in text]


CHAT = Chat(codes, image_ids=(-7, -7), human="H:", gpt="G:", end_ids=(3,), start="S", start_ids=(2,))
TURNS = (
    Turn("human", "<image>\na?"),
    Turn("gpt", "yes"),
    Turn("human", "b?"),
    Turn("gpt", "no"),
)


def test_questions_apart_have_the_ids_that_they_have_alone() -> None:
    shared, pieces = CHAT.apart(TURNS)
    for piece, question, answer in zip(pieces, ("a?", "b?"), ("yes", "no"), strict=True):
        ids, labels = CHAT.tokenize((Turn("human", f"<image>\n{question}"), Turn("gpt", answer)))
        assert [*shared, *piece.ids] == ids
        assert [*[NO_LOSS] * len(shared), *piece.labels] == labels


def test_a_prompt_is_a_conversation_without_its_answer() -> None:
    ids, _ = CHAT.tokenize(TURNS[:2])
    assert CHAT.prompt("<image>\na?") == ids[: -len("yes") - 1]


def test_questions_without_an_image_share_the_opening() -> None:
    shared, pieces = CHAT.apart((Turn("human", "a?"), Turn("gpt", "yes"), Turn("human", "b?"), Turn("gpt", "no")))
    assert shared == [2, *codes("SH:")]
    assert pieces[1].ids == [*codes("b?G:no"), 3]


def test_plain_keeps_images_and_answers() -> None:
    chat = Chat(codes, image_ids=(-7,), end_ids=(3,), plain=True)
    shared, pieces = chat.apart(TURNS)
    assert shared == [-7]
    assert [piece.ids for piece in pieces] == [[*codes("yes"), 3], [*codes("no"), 3]]
    assert chat.prompt("<image>\na?") == [-7]
