"""Passes the record of a training on: to the terminal, to trackers, and into a picture."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sinew.core.config import to_dict
from sinew.core.launch import launched
from sinew.core.rundir import RunDir
from sinew.engine.curves import draw_curves
from sinew.engine.progress import Progress
from sinew.engine.track import Row, read_rows
from sinew.engine.trackers import Tracked, Tracking

if TYPE_CHECKING:
    from sinew.run import RunConfig


@contextmanager
def followed(config: RunConfig, rundir: RunDir, progress: Progress) -> Generator[Callable[[Row], None]]:
    """Yield the trainer's ``on_log``; at the end the curves are drawn and given to the trackers too.

    Of several processes that train together only the first has trackers.

    Raises:
        DependencyError: the package of a tracker is not installed.
    """
    names = config.track if launched().rank == 0 else ("none",)
    tracking = Tracking(names, Tracked(rundir.path, to_dict(config), saved(rundir)), note=progress.note)

    def show(row: Row) -> None:
        progress.show(row)
        tracking.show(row)

    try:
        yield show
        if tracking.trackers:
            draw_curves(read_rows(rundir.metrics), rundir.curves, title=rundir.path.name)
            tracking.picture(saved(rundir), "curves", rundir.curves)
    finally:
        tracking.close()


def saved(rundir: RunDir) -> int:
    """Return the update that a training would go on after; 0 for one that begins."""
    last = rundir.checkpoints / "last"
    return int(last.readlink().name) if last.is_symlink() else 0
