"""What a policy is told in place of an instruction; training and every engine ask here."""

from __future__ import annotations


def spoken(instruction: str, template: str = "", ending: str = "") -> str:
    """Return an instruction as a policy hears it.

    Args:
        instruction: as it was given.
        template: what is said in its place; it stands in small letters where that has {}. "" for nothing.
        ending: what all that is said ends with; added where it does not.
    """
    whole = template.replace("{}", instruction.lower()) if template else instruction
    return whole if whole.endswith(ending) else whole + ending
