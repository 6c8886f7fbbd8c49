"""A policy whose answers one can work out by hand, and a server that runs beside the test."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.history import ChunkQueue, History
from sinew.core.types import NumpyObservation, RobotSpec, Rows
from sinew.deploy.serve import PolicyServer, ServeConfig, serve
from toy import ToyConfig

HORIZON = 3
TIMEOUT_S = 60
"""After which a test gives up; long, for machines that do much else."""


class MeanPolicy:
    """Answers with the mean position over its T ticks plus 0.01 a step, and with the mean of the last image.

    Args:
        ticks: T that it sees. execute: actions of a chunk to run. seconds: that one answer takes; while ``gate``
            is cleared it takes longer.

    Attributes:
        busy: set when it is asked.
    """

    def __init__(self, ticks: int = 1, execute: int = 2, seconds: float = 0.0) -> None:
        self.spec: RobotSpec = ToyConfig(size=4).spec
        self.history, self.queue, self.seconds = History(ticks), ChunkQueue(execute), seconds
        self.batches: list[int] = []
        self.gate, self.busy = threading.Event(), threading.Event()
        self.gate.set()
        self.named: dict[str, NDArray[np.float32]] = {}

    def predict_action_chunk(self, obs: NumpyObservation) -> NDArray[np.float32]:
        """Return (B, 3, 2)."""
        self.busy.set()
        time.sleep(self.seconds)
        assert self.gate.wait(TIMEOUT_S)
        self.batches.append(obs.num_rows)
        if "fail" in obs.instruction:
            raise RuntimeError("the coffee is cold")
        chunk = np.empty((obs.num_rows, HORIZON, 2), dtype=np.float32)
        chunk[:, :, 0] = obs.state[:, :, :1].mean(axis=1) + 0.01 * np.arange(HORIZON)
        chunk[:, :, 1] = obs.images["front"][:, -1].mean(axis=(1, 2, 3))[:, None]
        chunk[[text == "nan" for text in obs.instruction]] = np.nan
        self.named = {"hand": obs.state[:, -1, :1].copy()}
        return chunk

    def points(self) -> Mapping[str, NDArray[np.float32]]:
        """Return the last position as a point."""
        return self.named

    def reset(self, rows: Rows = None) -> None:
        """Forget these rows."""
        self.history.reset(rows)
        self.queue.reset(rows)

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        """Act as a local policy does."""
        index = np.arange(obs.num_rows) if rows is None else np.asarray(rows)
        chunk = self.predict_action_chunk(self.history.push(obs, index))
        wanting = self.queue.wanting(index)
        if wanting.any():
            self.queue.put(index[wanting], chunk[wanting])
        return self.queue.take(index)


def queued(server: PolicyServer, count: int) -> None:
    """Wait until so many requests wait for the policy."""
    deadline = time.monotonic() + TIMEOUT_S
    while len(server.service.batcher.waiting) < count:
        assert time.monotonic() < deadline
        time.sleep(0.002)


def message(position: float = 0.5, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return an observation of the toy robot as openpi's clients send it; None leaves a key out."""
    parts: dict[str, Any] = {
        "observation/image": np.full((4, 4, 3), 100, dtype=np.uint8),
        "observation/state": np.array([position, 0.0]),
        "prompt": "go left",
    }
    parts |= {name.replace("__", "/"): value for name, value in changes.items()}
    return {name: value for name, value in parts.items() if value is not None}


@contextmanager
def serving(policy: MeanPolicy | None = None, **settings: Any) -> Generator[PolicyServer]:  # noqa: ANN401
    """Run a server in another thread; its ``log`` attribute keeps what it notes."""
    log: list[str] = []
    config = dataclasses.replace(ServeConfig(port=0), **settings)
    server = PolicyServer(policy or MeanPolicy(), config, log.append)
    ready, loop, stop = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def live() -> None:
        async with server.running():
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(live(),))
    thread.start()
    assert ready.wait(TIMEOUT_S)
    server.log = log  # type: ignore[attr-defined]
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(TIMEOUT_S)
        loop.close()


class LoudPolicy(MeanPolicy):
    """Says when it begins to think, and takes its time."""

    def predict_action_chunk(self, obs: NumpyObservation) -> NDArray[np.float32]:
        """Return (B, 3, 2) after a while."""
        print("thinking", flush=True)  # noqa: T201
        return super().predict_action_chunk(obs)


if __name__ == "__main__":
    serve(LoudPolicy(seconds=0.3), ServeConfig(port=0), lambda line: print(line, flush=True))  # noqa: T201
