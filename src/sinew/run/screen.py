"""What a run prints: on a terminal with life, in a log as plain lines."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sinew.core.launch import launched

console = Console(highlight=False, quiet=launched().rank > 0)
"""Silent in all but the first of several processes that train together."""


def say(text: str) -> None:
    """Print a sentence; square brackets mean themselves."""
    console.print(text, markup=False, soft_wrap=True)


def heading(text: str) -> None:
    """Print the name of a phase."""
    console.print()
    console.print(text, style="bold", markup=False)


def columns(head: tuple[str, ...] | None, rows: Iterable[tuple[object, ...]]) -> None:
    """Print rows of cells below each other, wrapped to the terminal; square brackets mean themselves."""
    table = Table(box=None, pad_edge=False, show_header=head is not None, padding=(0, 3, 0, 0))
    for name in head or ("", ""):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    console.print(Padding(table, (1 if head else 0, 0, 0, 2)))


@contextmanager
def quiet(quietly: bool) -> Generator[None]:  # noqa: FBT001  (the one thing there is to say)
    """Say nothing in this block, if so, for output that a program reads."""
    before, console.quiet = console.quiet, console.quiet or quietly
    try:
        yield
    finally:
        console.quiet = before


@contextmanager
def counting(what: str) -> Generator[Callable[[int, int], None]]:
    """Yield a function of (done, wanted) that shows a bar on a terminal, and quarters as lines elsewhere."""
    if console.is_terminal:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        with Progress(
            "  {task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
        ) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, wanted: bar.update(task, completed=done, total=wanted)
        return
    shown = [0]

    def count(done: int, wanted: int) -> None:
        quarter = 4 * done // max(1, wanted)
        if quarter > shown[0]:
            shown[0] = quarter
            say(f"  {what}: {done} of {wanted}")

    yield count
