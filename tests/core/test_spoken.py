"""What a policy hears: the same in training and in every engine."""

from __future__ import annotations

import pytest

from sinew.core.spoken import spoken


@pytest.mark.parametrize(
    ("instruction", "template", "ending", "heard"),
    [
        ("Lift it", "", "", "Lift it"),
        ("Lift it", "", "\n", "Lift it\n"),
        ("Lift it\n", "", "\n", "Lift it\n"),
        ("Lift it", "In: {}?\nOut:", "", "In: lift it?\nOut:"),
        ("", "say {}", "!", "say !"),
        ("{}", "a {} b", "", "a {} b"),
    ],
)
def test_a_template_stands_around_and_an_ending_behind(
    instruction: str, template: str, ending: str, heard: str
) -> None:
    assert spoken(instruction, template, ending) == heard
