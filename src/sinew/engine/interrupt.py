"""Ctrl-C and SIGTERM as a polite request: finish the update, save, then stop."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from sinew.engine.distributed import world

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Notes the first Ctrl-C or SIGTERM inside a ``with`` block; a second one acts as usual, at once.

    Of several ranks each is sent one by the terminal and one by the launcher, which itself kills those that take too
    long; so there all are noted. Outside the main thread, where Python allows no handlers, it does nothing.

    Attributes:
        asked: whether one came.
    """

    def __init__(self) -> None:
        self.asked = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        """Take over the signals."""
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give them back."""
        self._give_back()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        if world().alone:
            self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
