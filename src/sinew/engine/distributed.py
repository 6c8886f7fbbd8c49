"""The processes that train together: joining them, and what they tell each other beside gradients."""

from __future__ import annotations

import datetime
import socket
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from sinew.core.errors import ConfigError, TrainingError
from sinew.core.launch import Launch, launched
from sinew.engine import rng

T = TypeVar("T")
J = TypeVar("J")
PATIENCE = datetime.timedelta(days=7)
"""How long ranks wait for each other while rank 0 collects or evaluates; a rank that dies is noticed at once."""
RANK_STREAM = 0x72616E6B
"""Keeps the seeds of other ranks apart from any that rank 0, or a run of one process, uses."""
_parts: ContextVar[int] = ContextVar("parts", default=0)
"""Parts that a process alone cuts its batches into; 0 outside ``by_itself``."""


@dataclass(frozen=True)
class World:
    """This process among those that train together; alone, every method does nothing and costs nothing.

    All ranks must call the same methods in the same order.

    Attributes:
        rank: of this process; 0 is the one that writes and prints.
        size: processes in all.
        parts: into which batches and jobs are cut; more than ``size`` where one process rehearses for several.
    """

    rank: int = 0
    size: int = 1
    parts: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other."""
        return self.size == 1

    def rows(self, rows: T) -> T:
        """Return this rank's part of the rows of a global batch (an array or sequence): neighbours, in their order.

        Raises:
            ConfigError: there are fewer rows than ranks.
        """
        parts = max(self.size, self.parts)
        if parts == 1:
            return rows
        count = len(rows)  # type: ignore[arg-type]
        if count < parts:
            raise ConfigError(
                f"{parts} processes share a batch of {count} rows: each needs one. Raise the batch, or start fewer."
            )
        return rows[count * self.rank // parts : count * (self.rank + 1) // parts]  # type: ignore[index]

    def seed(self, *numbers: int) -> int:
        """Return ``rng.mix`` of the numbers, another one on every rank; on rank 0 as if it were alone."""
        return rng.mix(*numbers) if self.rank == 0 else rng.mix(*numbers, RANK_STREAM, self.rank)

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of a tensor over the ranks, on its device; the host does not wait for it on CUDA."""
        if self.alone:
            return value
        total = value.detach().clone()
        dist.all_reduce(total)
        return total / self.size

    def largest(self, value: Tensor) -> Tensor:
        """Set a tensor to the largest of the ranks, element by element, and return it."""
        if not self.alone:
            dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return value

    def barrier(self) -> None:
        """Wait, for days if need be, until every rank is here."""
        if not self.alone:
            dist.barrier(group=hosts())

    def tell(self, value: T) -> T:
        """Return what rank 0 gave; the other ranks' values are not looked at."""
        if self.alone:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0, group=hosts())
        return box[0]

    def gather(self, value: T) -> list[T]:
        """Return what every rank gave, by rank, on every rank."""
        if self.alone:
            return [value]
        box: list[Any] = [None] * self.size
        dist.all_gather_object(box, value, group=hosts())
        return box

    def collect(self, value: T) -> list[T]:
        """Return on rank 0 what every rank gave, by rank; nothing on the others."""
        if self.alone:
            return [value]
        box: list[Any] | None = [None] * self.size if self.is_main else None
        dist.gather_object(value, box, dst=0, group=hosts())
        return box or []

    def waves(self, jobs: Sequence[J], run: Callable[[Sequence[J]], Iterable[T]]) -> Iterator[T | None]:
        """Run this rank's share of some jobs; passed on between ranks one by one, the results keep the jobs' order.

        Args:
            jobs: the same on every rank.
            run: given this rank's jobs, yields their results in order.

        Yields:
            A result, or None where there are no more for this rank but there are for others.
        """
        parts = max(self.size, self.parts)
        results = iter(run(jobs[self.rank :: parts]))
        for _ in range(-(-len(jobs) // parts)):
            yield next(results, None)

    def require_same(self, what: str, value: object) -> None:
        """Refuse to go on where the ranks disagree.

        Raises:
            TrainingError: with both sides.
        """
        values = self.gather(value)
        for rank, other in enumerate(values):
            if other != values[0]:
                raise TrainingError(
                    f"{what}: rank 0 has {values[0]}, rank {rank} has {other}. All processes must be started with the "
                    "same command, settings, files and versions."
                )


class Vote:
    """Asks every update whether any rank wants to stop; the answer is that to the question before, so nobody waits."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._asked: tuple[Tensor, Any] | None = None

    def __call__(self, asked: bool, *, last: bool) -> bool:  # noqa: FBT001  (the vote)
        """Return whether any rank had asked one call ago; alone, whether it asks now. ``last`` asks no more."""
        if self.world.alone:
            return asked
        before, self._asked = self._asked, None
        if not last:
            ballot = torch.tensor(int(asked))
            self._asked = ballot, dist.all_reduce(ballot, op=dist.ReduceOp.MAX, group=hosts(), async_op=True)
        if before is None:
            return False
        before[1].wait()
        return bool(before[0])


def in_turn(job: Callable[[], T]) -> T:
    """Do a job on every rank, one after another; what rank 0 leaves on the disk is there for the others."""
    ranks = world()
    results: list[T] = []
    for rank in range(ranks.size):
        if rank == ranks.rank:
            results.append(job())
        ranks.barrier()
    return results[0]


def world() -> World:
    """Return this process among those that have joined."""
    parts = _parts.get()
    if parts or not dist.is_initialized():
        return World(parts=parts or 1)
    return World(dist.get_rank(), dist.get_world_size())


@contextmanager
def by_itself() -> Generator[int]:
    """Inside, this process is alone, with what is its share of every batch outside; yields how many there are outside.

    So it can rehearse what it will do among the others, who need not know. What is built inside must not live on.
    """
    size = world().size
    token = _parts.set(size)
    try:
        yield size
    finally:
        _parts.reset(token)


@contextmanager
def joined(device: torch.device | str) -> Generator[World]:
    """Join the processes that a launcher started with this one; alone without a launcher.

    Inside, ``world()`` is the same on all of them, and ``cuda`` means this process's own GPU. The transport is NCCL
    between GPUs and gloo elsewhere.

    Raises:
        ConfigError: there are fewer GPUs here than processes.
        TrainingError: the others did not come, or were lost on the way.
    """
    launch = launched()
    if launch.size == 1 or dist.is_initialized():
        yield world()
        return
    kind = torch.device(device).type
    if kind == "cuda":
        if launch.local_size > torch.cuda.device_count():
            raise ConfigError(
                f"{launch.local_size} processes were started on {socket.gethostname()}, which shows "
                f"{torch.cuda.device_count()} GPUs. Start one a GPU, or train on the CPU: --device cpu"
            )
        torch.cuda.set_device(launch.local_rank)
    try:
        _meet("cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo", launch)
        hosts()
        found = world()
        if (found.rank, found.size) != (launch.rank, launch.size):
            raise TrainingError(
                f"the launcher started process {launch.rank} of {launch.size}, this one joined as {found.rank} of "
                f"{found.size}. Start all of them with one launcher: docs/training.md"
            )
        yield found
    except (dist.DistError, RuntimeError) as error:
        if not _is_lost(error):
            raise
        raise TrainingError(
            f"rank {launch.rank} of {launch.size} lost the others ({str(error).splitlines()[0]}). One of them ended; "
            "its own message says why. The same command goes on from the last checkpoint."
        ) from error
    _leave()


@lru_cache(maxsize=1)
def hosts() -> Any:  # noqa: ANN401  (a process group)
    """Return the group for words between hosts; of its own, so that its waits do not count as a hanging gradient."""
    return dist.new_group(backend="gloo", timeout=PATIENCE)


def _meet(backend: str, launch: Launch) -> None:
    """Meet the others where the launcher says.

    An elastic launcher keeps its store for the next attempt, and whoever is first there would read the addresses of
    processes that are dead and wait for them (torch 2.13); so each attempt keeps its own.
    """
    store, rank, size = next(dist.rendezvous("env://"))  # pyright: ignore[reportPrivateImportUsage]
    attempt = dist.PrefixStore(f"attempt_{launch.restarts}", store)  # pyright: ignore[reportPrivateImportUsage]
    dist.init_process_group(backend, store=attempt, rank=rank, world_size=size)


def _is_lost(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, dist.DistError) or any(word in text for word in ("gloo", "nccl", "connection closed"))


def _leave() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dist.destroy_process_group()
    hosts.cache_clear()
