"""The local tokenizer and the small language encoder."""

from __future__ import annotations

import torch

from sinew.models.config import LanguageConfig
from sinew.models.language import LanguageEncoder, Pool, WordIds, train_tokenizer


def test_known_words_differ_and_unknown_ones_share_an_id() -> None:
    words = WordIds(train_tokenizer(["Lift the ball.", "lift the box"]), 8)
    ids = words(["lift the ball", "lift the box", "LIFT the spoon"])
    assert ids.shape == (3, 3)
    assert len({*ids[:, 2].tolist()}) == 3
    assert ids[2, 0] == ids[0, 0]
    assert ids[2, 2] == 1


def test_padding_does_not_change_a_sentence() -> None:
    torch.manual_seed(0)
    encoder = LanguageEncoder(LanguageConfig(width=16, layers=2, heads=2), 10).eval()
    pool = Pool(16, 2)
    short = pool(encoder(torch.tensor([[3, 4]])))
    padded = pool(encoder(torch.tensor([[3, 4, 0, 0], [5, 6, 7, 8]])))[:1]
    assert torch.allclose(short, padded, atol=1e-5)


def test_an_empty_instruction_has_finite_features() -> None:
    words = WordIds(train_tokenizer(["lift"]), 8)
    encoder = LanguageEncoder(LanguageConfig(width=16, layers=1, heads=2), 10)
    assert encoder(words([""])).tokens.isfinite().all()


def test_long_instructions_are_cut() -> None:
    assert WordIds(train_tokenizer(["a b c d"]), 3)(["a b c d"]).shape == (1, 3)
