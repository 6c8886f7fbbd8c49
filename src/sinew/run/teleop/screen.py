"""What the terminal shows while somebody records: the scene in coloured half blocks, and how it stands."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from sinew.run.teleop.session import Session

LINES = 9
"""Below the picture."""
LARGEST, SMALLEST = 96, 16
"""Side of the picture [half blocks]."""
HALF = "▀"
RESET, BOLD, DIM, RED, GREEN, AMBER = ("\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[1;31m", "\x1b[1;32m", "\x1b[1;33m")
HOME, CLEAR, TO_END, BELOW = "\x1b[H", "\x1b[2J", "\x1b[K", "\x1b[J"
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
WORDS = {
    "ready": "Enter start   n another scene   r reset   x discard the last one   Ctrl-C end",
    "recording": "y success   n failure   Enter stop   x discard   r once more   Ctrl-C end",
    "judging": "Enter keep   y success   n failure   x discard   r once more   Ctrl-C end",
}
UNSAID = "y success   n failure   x discard   r once more   Ctrl-C end"


class Screen:
    """Draws a session in place on a terminal, or says in plain lines what happened where it is none.

    Args:
        help: lines on how to drive.
        out: to write to.
    """

    def __init__(self, help: Sequence[str], out: TextIO | None = None) -> None:
        self.help, self.out = tuple(help), out or sys.stdout
        self.alive = self.out.isatty()
        self._said = ""
        self._size = (0, 0)

    def open(self) -> None:
        """Take the terminal over."""
        if self.alive:
            self._write(ENTER + CLEAR)

    def close(self) -> None:
        """Give the terminal back."""
        if self.alive:
            self._write(LEAVE)

    def show(self, session: Session) -> None:
        """Show how a session stands."""
        if not self.alive:
            if session.note and session.note != self._said:
                self._write(f"{session.note} {totals(session)}\n")
            self._said = session.note
            return
        columns, rows = shutil.get_terminal_size()
        side = min(LARGEST, columns - 2, 2 * (rows - LINES))
        lines = blocks(session.env.picture(0, side)) if side >= SMALLEST else []
        lines += [line for text in status(session, self.help) for line in _folded(text, columns - 2)]
        clear = "" if self._size == (columns, rows) else CLEAR
        self._size = (columns, rows)
        self._write(clear + HOME + "".join(f" {line}{RESET}{TO_END}\r\n" for line in lines[: rows - 1]) + BELOW)

    def _write(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()


def status(session: Session, help: Sequence[str]) -> list[str]:
    """Return the lines below the picture."""
    spec = session.env.spec
    seconds = f"{session.ticks / spec.hz:5.1f} s  {session.ticks} frames"
    phase = {
        "ready": f"{AMBER}READY{RESET}",
        "recording": f"{RED}● RECORDING{RESET}  {seconds}",
        "judging": f"{GREEN}STOPPED{RESET}  {seconds}",
    }[session.phase]
    proposal = {True: "The world says: success.", False: "The world says: failure.", None: ""}[session.proposal]
    words = UNSAID if session.phase == "judging" and session.proposal is None else WORDS[session.phase]
    parts = zip(spec.action, session.action, spec.action_units, strict=True)
    sent = "  ".join(f"{name} {value:+.3g}{'' if unit == '1' else f' {unit}'}" for name, value, unit in parts)
    return [
        f"{BOLD}{session.obs.instruction[0] or '(no instruction)'}{RESET}   {DIM}{session.state_id}{RESET}",
        f"{phase}  {' '.join(part for part in (session.note, proposal) if part)}",
        f"{DIM}sent{RESET}  {sent}",
        f"{DIM}kept{RESET}  {totals(session)}",
        words,
        *(f"{DIM}{line}{RESET}" for line in help),
    ]


def totals(session: Session) -> str:
    """Return how many episodes there are, by task and in all."""
    tasks = "   ".join(f"{name} {count}" for name, count in session.counts.items())
    wanted = "" if session.wanted is None else f" of {session.wanted}"
    return f"{tasks}   in all {session.recorder.num_episodes}{wanted}"


def blocks(picture: NDArray[np.uint8]) -> list[str]:
    """Return a picture (h, w, 3) as lines of text, two pixels a character, colours by 24-bit escapes."""
    even = picture[: len(picture) // 2 * 2]
    lines: list[str] = []
    for upper, lower in zip(even[::2].tolist(), even[1::2].tolist(), strict=True):
        parts: list[str] = []
        last = None
        for over, under in zip(upper, lower, strict=True):
            colour = (*over, *under)
            if colour != last:
                parts.append("\x1b[38;2;{};{};{};48;2;{};{};{}m".format(*colour))
            parts.append(HALF)
            last = colour
        lines.append("".join(parts))
    return lines


def _folded(line: str, width: int) -> list[str]:
    """Return a line in pieces that fit; it is cut between its parts, which stand three spaces apart."""
    if _length(line) <= width or "   " not in line:
        return [line]
    pieces: list[str] = []
    for part in line.split("   "):
        if pieces and _length(pieces[-1]) + 3 + _length(part) <= width:
            pieces[-1] += f"   {part}"
        else:
            pieces.append(part)
    return pieces


def _length(line: str) -> int:
    """Return how many characters of a line are seen."""
    seen = 0
    rest = line
    while rest:
        before, escape, after = rest.partition("\x1b[")
        seen += len(before)
        rest = after.partition("m")[2] if escape else ""
    return seen
