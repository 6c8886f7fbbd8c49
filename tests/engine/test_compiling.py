"""Translated networks learn the same, and the user hears what it costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.tiny import LOOP, Fit, same, train, weights
from sinew.core.errors import ConfigError
from sinew.engine.compiling import verdict


def test_a_translated_run_learns_what_a_plain_one_does(tmp_path: Path) -> None:
    """By the backend that only traces, which must change no bit; timing both ways leaves no trace either."""
    notes: list[str] = []
    plain = train(tmp_path / "a")
    recipe = Fit()
    train(tmp_path / "b", recipe, replace(LOOP, compile="eager"), on_note=notes.append)
    assert same(weights(recipe), weights(plain))
    assert recipe.line.layers._compiled_call_impl is not None
    assert len(notes) == 1
    assert notes[0].startswith("torch.compile: translating took ")


def test_an_unknown_backend_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--loop\.compile induktor: this torch knows .*inductor"):
        train(tmp_path, config=replace(LOOP, compile="induktor"))


def test_break_even_by_hand() -> None:
    # 44 s for 45 ms an update less: 978 updates.
    assert verdict(44.0, 0.361, 0.316).endswith("it pays in runs of more than 978 updates.")
    assert "Leave out" in verdict(44.0, 0.3, 0.3)
