from __future__ import annotations

import re

import pytest
import torch

from sinew.core.errors import ConfigError
from sinew.core.types import Batch, Observation
from sinew.data.config import PhraseConfig
from sinew.data.phrases import NEGATIONS, PROTECTED, check_phrases, phrase, rephrase, spoken
from sinew.models.language import UNKNOWN, train_tokenizer

SENTENCES = (
    "pick up the red cup",
    "Pick up 2 bolts and place them left of the box.",
    "put the smaller gear onto the second shaft",
    "do not push the blue one",
    "never move the vase, please",
    "push the button three times, then turn on the lamp",
    "stack all three",
    "fluffle the gronk",
)
ALWAYS = PhraseConfig(synonym=1.0, template=0.5, insert=0.5, delete=0.5)
ADDED = {"please", "carefully", "can", "could", "you", "your", "task", "is", "to", "i", "want", "now"}


def said(sentence: str, config: PhraseConfig = ALWAYS, count: int = 400) -> list[str]:
    return [phrase(sentence, config, (3, 0, number)) for number in range(count)]


def plain(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.lower())


@pytest.mark.parametrize("sentence", SENTENCES)
def test_what_tells_tasks_apart_is_never_touched(sentence: str) -> None:
    idioms = " ".join(plain(sentence)).replace("pick up", "pick-up")  # which is no direction
    wanted = [word for word in idioms.split() if word in PROTECTED or word.isdigit()]
    verbs = {"pick", "up", "put", "place", "push", "move", "turn", "grab", "take", "set", "shove", "bring", "switch"}
    things = [word for word in plain(sentence) if word not in verbs | ADDED | {"the", "and", "then"} | PROTECTED]
    for text in said(sentence):
        found = " ".join(plain(text)).replace("pick up", "pick-up").split()
        assert [word for word in found if word in PROTECTED or word.isdigit()] == wanted
        assert [word for word in found if word in things] == things


def test_at_least_half_stay_as_they_are() -> None:
    texts = said(SENTENCES[0], count=2000)
    kept = sum(text == SENTENCES[0] for text in texts) / 2000
    assert kept >= 0.5 - 3 * (0.25 / 2000) ** 0.5
    assert len(set(texts)) > 20
    assert set(said(SENTENCES[0], PhraseConfig(keep=1.0))) == {SENTENCES[0]}


def test_a_negated_sentence_is_only_said_politely() -> None:
    texts = set(said("do not push the blue one"))
    assert texts == {"do not push the blue one", "please do not push the blue one", "do not push the blue one please"}


def test_examples_read_well() -> None:
    texts = set(said("Pick up the red cup."))
    assert {
        "can you pick up the red cup.",
        "Grab the red cup.",
        "Pick up red cup.",
        "Pick up the red cup carefully.",
    } & texts
    assert all(text.endswith(".") and "  " not in text for text in texts)
    assert not any("grab up" in text for text in texts)


def test_nouns_that_look_like_verbs_stay() -> None:
    assert all("place" in text for text in said("go to the marked place"))


def test_a_row_is_known_by_seed_source_and_id() -> None:
    obs = Observation(images={}, state=torch.zeros(64, 1, 1), instruction=(SENTENCES[0],) * 64)
    batch = Batch(
        obs,
        torch.zeros(64, 1, 1),
        torch.zeros(64, 1, dtype=torch.bool),
        torch.ones(64),
        source=("a", "b") * 32,
        ids=torch.arange(64) // 2,
    )
    one = rephrase(batch, ALWAYS, 5).obs.instruction
    assert one == rephrase(batch, ALWAYS, 5).obs.instruction
    assert one != rephrase(batch, ALWAYS, 6).obs.instruction
    assert one[0::2] != one[1::2]
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    assert batch.ids is not None
    shuffled = Batch(
        obs,
        batch.actions,
        batch.is_pad,
        batch.weight,
        source=tuple(batch.source[number] for number in order.tolist()),
        ids=batch.ids[order],
    )
    assert rephrase(shuffled, ALWAYS, 5).obs.instruction == tuple(one[number] for number in order.tolist())


def test_every_added_word_is_known_to_a_tokenizer_that_was_told() -> None:
    tokenizer = train_tokenizer({*SENTENCES, *spoken(ALWAYS)})
    for sentence in SENTENCES:
        assert all(UNKNOWN not in tokenizer.encode(text).tokens for text in said(sentence, count=100))


def test_a_sentence_that_would_become_too_long_stays() -> None:
    assert max(len(text.split()) for text in said(SENTENCES[0], PhraseConfig(template=1.0, longest=6))) <= 6


def test_protected_words_of_ones_own_stay() -> None:
    assert all("pick up" in text.lower() for text in said(SENTENCES[0], PhraseConfig(synonym=1.0, protect=("pick",))))


@pytest.mark.parametrize("text", ["red", "left", "two", "not", "gear 2"])
def test_a_table_that_would_change_the_task_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="colour, number, direction or negation"):
        check_phrases(PhraseConfig(synonyms={text: ("something",)}))
    check_phrases(PhraseConfig(synonyms={"retrieve": ("fetch",), "pick up": ("collect",)}))


def test_negations_are_protected() -> None:
    assert NEGATIONS < PROTECTED
