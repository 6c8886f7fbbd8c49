"""What every page of ours is rendered with: the templates, and how they write numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sinew.evaluate.chart import number, percent

if TYPE_CHECKING:
    from jinja2 import Environment


def environment() -> Environment:
    """Return the templates; a value they miss is an error, and all text is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("sinew.evaluate"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(percent=percent, number=number, place=_place)
    return made


def _place(value: float) -> str:
    """Return a position in a chart, in per cent of its width."""
    return f"{100 * value:.2f}"
