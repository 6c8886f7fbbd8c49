from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from sinew.models.language import train_tokenizer
from sinew.run.play.words import unheard


def test_words_that_were_never_heard_are_found_once() -> None:
    policy: Any = SimpleNamespace(tokenizer=train_tokenizer(["lift the ball"]))
    assert unheard(policy, "Lift the banana, the banana") == ("banana", ",")
    assert unheard(policy, "LIFT the ball") == ()


def test_a_policy_without_words_has_heard_everything() -> None:
    policy: Any = SimpleNamespace()
    assert unheard(policy, "anything") == ()
