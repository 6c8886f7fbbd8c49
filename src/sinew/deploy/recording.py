"""Writes what a robot loop did as episodes, in stretches without a fault."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sinew.core.types import NumpyObservation, RobotSpec
from sinew.data.episode import Episode
from sinew.data.store import Store
from sinew.deploy.loop_report import LoopTick

SOURCE = "robot"


class EpisodeRecorder:
    """An ``on_tick`` of the robot loop that keeps episodes in a store; close it at the end.

    A tick in which the loop braked for a fault ends the episode; the next good one begins another, so that no
    episode has a hole. The label of a frame is what the policy wanted, ``executed`` is what was sent. Files are
    written in a thread of their own; a full disk ends the loop at the next tick.

    Args:
        directory: a store; made if there is none.
        spec: of the robot.
        task: name of the task, for tables.
        longest: ticks after which an episode is cut, so that memory stays bounded.
        least: episodes with fewer ticks are not kept.

    Attributes:
        kept: episodes handed to the store so far.

    Raises:
        SpecError: the store there is of another robot.
        DataError: it holds something else.
    """

    def __init__(
        self, directory: Path, spec: RobotSpec, *, task: str = "robot", longest: int = 1200, least: int = 2
    ) -> None:
        self.store = Store.open_or_create(directory, spec)
        self.store.lock()
        self.spec, self.task, self.longest, self.least = spec, task, longest, least
        self.kept = 0
        self._number = self.store.num_episodes
        self._ticks: list[tuple[NumpyObservation, NDArray[np.float32], NDArray[np.float32]]] = []
        self._success = False
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="recorder")
        self._writing: list[Future[None]] = []

    def __call__(self, tick: LoopTick) -> None:
        """Take one tick.

        Raises:
            SinewError: an earlier episode could not be written.
        """
        for done in [future for future in self._writing if future.done()]:
            self._writing.remove(done)
            done.result()
        if tick.fault or tick.obs is None or tick.wanted is None:
            self._end()
            return
        self._success = tick.success
        self._ticks.append((tick.obs, tick.wanted, tick.sent))
        if tick.success or len(self._ticks) >= self.longest:
            self._end()

    def close(self) -> None:
        """Write what is left and wait until it is on the disk.

        Raises:
            SinewError: an episode could not be written.
        """
        self._end()
        self._writer.shutdown(wait=True)
        self.store.unlock()
        for future in self._writing:
            future.result()

    def _end(self) -> None:
        ticks, self._ticks = self._ticks, []
        if len(ticks) >= self.least:
            self._writing.append(self._writer.submit(self._write, ticks, self._number, success=self._success))
            self._number += 1
            self.kept += 1

    def _write(
        self,
        ticks: list[tuple[NumpyObservation, NDArray[np.float32], NDArray[np.float32]]],
        number: int,
        *,
        success: bool,
    ) -> None:
        images = {name: np.stack([obs.images[name][0, -1] for obs, _, _ in ticks]) for name in self.spec.cameras}
        self.store.append([
            Episode(
                spec=self.spec,
                images=images,
                state=np.stack([obs.state[0, -1] for obs, _, _ in ticks]),
                action=self._label(np.stack([wanted for _, wanted, _ in ticks])),
                executed=np.stack([sent for _, _, sent in ticks]),
                instruction=ticks[0][0].instruction[0],
                task=self.task,
                success=success,
                source=SOURCE,
                id=f"{SOURCE}/{number}",
                sensors={
                    name: np.stack([obs.sensors[name][0, -1] for obs, _, _ in ticks]) for name in self.spec.sensors
                },
            )
        ])  # fmt: skip

    def _label(self, wanted: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return actions within their bounds, two-valued ones at one of them."""
        low, high = np.asarray(self.spec.low, np.float32), np.asarray(self.spec.high, np.float32)
        nearest = np.where(wanted >= (low + high) / 2, high, low)
        return np.where(np.asarray(self.spec.binary_mask), nearest, np.clip(wanted, low, high)).astype(np.float32)
