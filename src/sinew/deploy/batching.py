"""Runs a policy in one thread for many connections, those that wait together in one batch."""

from __future__ import annotations

import asyncio
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import SinewError
from sinew.core.rollout import concat_rows
from sinew.core.types import NumpyObservation
from sinew.deploy.load import LoadedPolicy


class PolicyError(SinewError):
    """The policy itself failed, or said what no robot may do."""


@dataclass(frozen=True)
class Prediction:
    """What a policy says to one observation.

    Attributes:
        chunk: (H, A), physical units.
        points: where it thinks the named things are, (k,) by name.
    """

    chunk: NDArray[np.float32]
    points: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


class Batcher:
    """Hands observations to the policy's thread; whatever waits when the thread is free goes as one batch.

    A lone request is never held back for others. A batch has rows of one spec and one history length, so
    rows do not see each other; their last bits may differ from those of a lone request.

    Args:
        policy: acts; only this object's thread touches it.
        limit: largest batch.
        note: told of the policy's failures, with the traceback.
    """

    def __init__(self, policy: LoadedPolicy, limit: int, note: Callable[[str], None]) -> None:
        self.policy, self.limit, self.note = policy, limit, note
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="policy")
        self.waiting: deque[tuple[NumpyObservation, asyncio.Future[Prediction]]] = deque()
        self.worker: asyncio.Task[None] | None = None

    async def predict(self, obs: NumpyObservation) -> Prediction:
        """Return the policy's answer to one row with full history.

        Raises:
            PolicyError: the policy failed, or its answer is not finite.
        """
        future: asyncio.Future[Prediction] = asyncio.get_running_loop().create_future()
        self.waiting.append((obs, future))
        if self.worker is None or self.worker.done():
            self.worker = asyncio.create_task(self._work())
        return await future

    def close(self) -> None:
        """Stop the thread once it is done with what it has begun."""
        self.thread.shutdown(wait=True)

    async def _work(self) -> None:
        while self.waiting:
            group = [self.waiting.popleft() for _ in range(min(self.limit, len(self.waiting)))]
            obs = concat_rows([obs for obs, _ in group])
            job = asyncio.get_running_loop().run_in_executor(self.thread, self._infer, obs)
            await asyncio.wait([job])
            failure = job.exception()
            if failure is not None:
                self.note("".join(traceback.format_exception(failure)).rstrip())
            answers = [None] * len(group) if failure is not None else job.result()
            for (_, future), answer in zip(group, answers, strict=True):
                _settle(future, answer, failure)

    def _infer(self, obs: NumpyObservation) -> list[Prediction]:
        chunks = self.policy.predict_action_chunk(obs)
        points = self.policy.points()
        return [
            Prediction(chunk, {name: value[row] for name, value in points.items()}) for row, chunk in enumerate(chunks)
        ]


def _settle(future: asyncio.Future[Any], answer: Prediction | None, failure: BaseException | None) -> None:
    """Give a request its answer, or the reason why it gets none."""
    if future.done():  # cancelled: nobody waits any more
        return
    if answer is None:
        future.set_exception(
            PolicyError(f"the policy failed ({type(failure).__name__}: {failure}). The server's log has the traceback.")
        )
    elif not np.isfinite(answer.chunk).all():
        future.set_exception(
            PolicyError(
                "the policy's actions hold NaN or infinity. Hold the robot; check the checkpoint and the state."
            )
        )
    else:
        future.set_result(answer)
