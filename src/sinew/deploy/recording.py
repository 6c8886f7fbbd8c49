"""Writes what a robot loop did as episodes, in stretches without a fault."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from sinew.core.errors import SinewError
from sinew.core.types import RobotSpec
from sinew.data.recorder import EpisodeRecorder, Frame
from sinew.deploy.loop_report import LoopTick

SOURCE = "robot"
LONGEST_QUEUE = 200
"""Ticks that may wait for the disk before the loop is ended."""


class LoopRecorder:
    """An ``on_tick`` of the robot loop that records episodes; close it at the end.

    A tick in which the loop braked for a fault ends the episode; the next good one begins another, so that no
    episode has a hole. The label of a frame is what the policy wanted, ``executed`` is what was sent. Frames are
    written one by one in a thread of their own; a full or slow disk ends the loop at the next tick.

    Args:
        directory: see ``EpisodeRecorder``.
        spec: of the robot.
        task: name of the task, for tables.
        longest: ticks after which an episode is cut.
        least: episodes with fewer ticks are not kept.

    Attributes:
        kept: episodes kept so far, those on their way to the disk included.

    Raises:
        SpecError: the episodes there are of another robot.
        DataError: it holds something else, or another process records there.
    """

    def __init__(
        self, directory: Path, spec: RobotSpec, *, task: str = "robot", longest: int = 1200, least: int = 2
    ) -> None:
        self.recorder = EpisodeRecorder(directory, spec, source=SOURCE)
        self.task, self.longest, self.least = task, longest, least
        self.kept = 0
        self._ticks, self._success = 0, False
        self._failure: SinewError | None = None
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="recorder")
        self._waiting: deque[Future[None]] = deque()

    def __call__(self, tick: LoopTick) -> None:
        """Take one tick.

        Raises:
            SinewError: an earlier one could not be written, or too many wait to be.
        """
        self._check()
        if tick.fault or tick.obs is None or tick.wanted is None:
            self._end()
            return
        frame, instruction = Frame.of(tick.obs, tick.wanted, tick.sent), tick.obs.instruction[0]
        begins = self._ticks == 0
        self._submit(lambda: self._write(frame, instruction, begins=begins))
        self._ticks += 1
        self._success = tick.success
        if tick.success or self._ticks >= self.longest:
            self._end()

    def close(self) -> None:
        """End the episode and wait until everything is on the disk.

        Raises:
            SinewError: something could not be written.
        """
        self._end()
        self._writer.shutdown(wait=True)
        try:
            self.recorder.close()
        finally:
            if self._failure is not None:
                raise self._failure

    def _end(self) -> None:
        ticks, self._ticks = self._ticks, 0
        if ticks >= self.least:
            success = self._success
            self._submit(lambda: self._keep(success=success))
            self.kept += 1
        elif ticks:
            self._submit(self.recorder.discard)

    def _write(self, frame: Frame, instruction: str, *, begins: bool) -> None:
        if begins:
            self.recorder.begin(instruction=instruction, task=self.task)
        self.recorder.add(frame)

    def _keep(self, *, success: bool) -> None:
        self.recorder.end(success=success, terminated=success)

    def _submit(self, job: Callable[[], None]) -> None:
        self._waiting.append(self._writer.submit(self._do, job))

    def _do(self, job: Callable[[], None]) -> None:
        """Do one thing in the writer's thread; after a failure nothing more, so that no episode has a hole."""
        if self._failure is None:
            try:
                job()
            except SinewError as error:
                self._failure = error

    def _check(self) -> None:
        while self._waiting and self._waiting[0].done():
            self._waiting.popleft().result()
        if self._failure is not None:
            raise self._failure
        if len(self._waiting) > LONGEST_QUEUE:
            raise SinewError(
                f"{self.recorder.directory}: {len(self._waiting)} ticks wait to be written; the disk is slower than "
                "the robot. Record to a faster one, or smaller images."
            )
