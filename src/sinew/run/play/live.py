"""The game in time: ticks at the control rate, people's wishes in between, and a picture whenever there is time."""

from __future__ import annotations

import json
import queue
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from sinew.core.errors import SinewError
from sinew.run.play.encoding import jpeg, png
from sinew.run.play.game import Game

FINE = 720
"""Side of the picture when nothing moves [px]."""
SIZES = (640, 480, 400, 320)
"""Sides of the sketches when something does [px]; the largest that is drawn in time is taken."""
DRAW_S = 0.06
"""How long drawing may take while something moves [s]."""
SURE = 5
"""Sketches whose middle cost decides."""
SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0)
MOST_BEHIND = 8
"""Ticks that are made up for at once; beyond that the time itself is slower."""
WATCHED_S = 1.0
"""How long after somebody last got a picture the next one is drawn without being asked for [s]."""
STILL_S = 0.2
"""How long nothing has changed before the fine picture is drawn [s]."""
ANSWER_S = 60.0
"""How long somebody waits for what is wished for [s]."""


class Fit:
    """Picks the largest size that is drawn in time.

    Attributes:
        size: of the next sketch [px].
    """

    def __init__(self) -> None:
        self.size = SIZES[0]
        self._costs: list[float] = []

    def learn(self, cost: float) -> None:
        """Take how long a sketch took [s]; after several that took too long, the next ones are smaller."""
        self._costs = [*self._costs, cost][-SURE:]
        if len(self._costs) == SURE and sorted(self._costs)[SURE // 2] > DRAW_S:
            self._change(1)

    def relax(self) -> None:
        """Allow a larger size again where the last ones were drawn in less than half the time."""
        if len(self._costs) == SURE and sorted(self._costs)[SURE // 2] < DRAW_S / 2:
            self._change(-1)

    def _change(self, by: int) -> None:
        number = min(max(SIZES.index(self.size) + by, 0), len(SIZES) - 1)
        if SIZES[number] != self.size:
            self.size, self._costs = SIZES[number], []


class Live:
    """Runs a game. ``run`` owns it; other threads ask with ``do`` and look with ``frame``.

    Args:
        game: to run.
    """

    def __init__(self, game: Game) -> None:
        self.game = game
        self.speed = 1.0
        self.rate = 0.0
        self._wishes: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._latest: Callable[[], Any] | None = None
        self._news = threading.Condition()
        self._number, self._frame = 0, b""
        self._watchers, self._asked = 0, -WATCHED_S
        self._stopped = threading.Event()
        self._fit = Fit()

    # -------------------------------------------------------------------------- from other threads

    def do(self, wish: Callable[[], Any]) -> Any:  # noqa: ANN401  (what the wish returns)
        """Have something done between two ticks and return what came of it.

        Raises:
            SinewError: it could not be done, or not in time.
        """
        answer: Future[Any] = Future()
        self._wishes.put((wish, answer))
        try:
            return answer.result(ANSWER_S)
        except TimeoutError as error:
            raise SinewError(f"no answer within {ANSWER_S:.0f} s. Look into the terminal, or start again.") from error

    def later(self, wish: Callable[[], Any]) -> None:
        """Have something done soon, unless another such wish comes before: of many, the last one counts."""
        self._latest = wish
        self._wishes.put((self._take_latest, Future()))

    def frame(self, after: int, patience: float) -> bytes:
        """Return the newest frame as soon as there is a newer one than ``after``; empty if none comes.

        A frame is a record of JSON and pictures, each after its length in 4 bytes (little-endian).
        """
        with self._news:
            self._watchers += 1
            self._news.wait_for(lambda: self._number > after or self._stopped.is_set(), patience)
            self._watchers, self._asked = self._watchers - 1, time.monotonic()
            return self._frame if self._number > after else b""

    def stop(self) -> None:
        """Let ``run`` end, and everybody who waits for a frame."""
        with self._news:
            self._stopped.set()
            self._news.notify_all()

    # ------------------------------------------------------------------------------- the one owner

    def run(self) -> None:
        """Play until ``stop`` is called."""
        due = time.monotonic()
        fresh, sharp, changed = True, False, due
        while not self._stopped.is_set():
            now = time.monotonic()
            moving = self.game.phase == "acting"
            if self._serve(wait=max(0.0, due - now) if moving else 0.05):
                fresh, changed = True, time.monotonic()
            if self.game.phase == "acting":
                due = due if moving else time.monotonic()
                due, ticked = self._catch_up(due)
                fresh, changed = fresh or ticked, time.monotonic() if ticked else changed
            busy = self.game.phase == "acting" or time.monotonic() - changed < STILL_S
            if self._watched() and (fresh or (not busy and not sharp)):
                self._publish(fine=not busy)
                fresh, sharp = False, not busy

    def _serve(self, *, wait: float) -> bool:
        """Fulfil what is wished for, waiting for a first wish; return whether there was one."""
        served = False
        while True:
            try:
                wish, answer = self._wishes.get(timeout=0.0 if served else wait)
            except queue.Empty:
                return served
            served = True
            try:
                answer.set_result(wish())
            except SinewError as error:
                answer.set_exception(error)

    def _take_latest(self) -> None:
        latest, self._latest = self._latest, None
        if latest is not None:
            latest()

    def _catch_up(self, due: float) -> tuple[float, bool]:
        """Run the ticks that are due; return when the next one is, and whether there were any."""
        ticked = 0
        period = 1.0 / (self.game.env.spec.hz * self.speed)
        now = time.monotonic()
        while self.game.phase == "acting" and due <= now:
            if ticked == MOST_BEHIND:
                return now, True
            self.game.tick()
            due, ticked = due + period, ticked + 1
        return due, ticked > 0

    def _watched(self) -> bool:
        return self._watchers > 0 or time.monotonic() - self._asked < WATCHED_S

    def _publish(self, *, fine: bool) -> None:
        if self.game.ticks == 0:
            self._fit.relax()
        size = FINE if fine else self._fit.size
        start = time.perf_counter()
        picture = self.game.env.picture(0, size) if fine else self.game.env.sketch(0, size)
        if not fine:
            self._fit.learn(time.perf_counter() - start)
        parts = [json.dumps(self._record(size)).encode(), jpeg(picture), *map(png, self.game.views())]
        frame = b"".join(struct.pack("<I", len(part)) + part for part in parts)
        with self._news:
            self._number, self._frame = self._number + 1, frame
            self._news.notify_all()

    def _record(self, size: int) -> dict[str, Any]:
        return {**self.game.look(), "frame": self._number + 1, "speed": self.speed, "size": size}
