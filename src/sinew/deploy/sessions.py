"""Speaks with one client in its protocol; what a session remembers is of that client alone."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sinew import __version__
from sinew.core import config as configs
from sinew.core.errors import DataError, SinewError
from sinew.core.history import ChunkQueue, History
from sinew.deploy import wire
from sinew.deploy.batching import Batcher, Prediction
from sinew.deploy.requests import RequestReader, to_plain

VLA_EVAL_VERSION = 1
VLA_EVAL_TYPES = ("hello", "observation", "action", "episode_start", "episode_end", "error")


@dataclass(frozen=True)
class Service:
    """What all sessions of a server share.

    Attributes:
        reader: turns requests into observations. batcher: runs the policy.
        ticks: T that the policy sees. previous: P, executed actions that it sees.
        execute: actions of a chunk to run. horizon: H.
        max_message: bytes.
        note: told of requests that were refused.
    """

    reader: RequestReader
    batcher: Batcher
    ticks: int
    previous: int
    execute: int
    horizon: int
    max_message: int
    note: Callable[[str], None]


class Session(Protocol):
    """One client's side of the server."""

    def __init__(self, service: Service) -> None: ...

    def greeting(self) -> bytes | None:
        """Return what the server says first, if anything."""
        ...

    async def answer(self, data: bytes | str) -> bytes | None:
        """Return the answer to a message, or None where the protocol has none.

        Raises:
            SinewError: it is refused and the connection must end.
        """
        ...


class OpenpiSession:
    """openpi's protocol: metadata first, then one chunk per observation; an error ends the connection.

    Beside openpi's keys an observation may hold ``reset: True`` (an episode starts: forget what was seen) and
    ``remember: True`` (only add this tick to the history; the answer holds no actions). A policy that looks at what
    was executed wants ``prev_actions``, (P, A) with the newest last and NaN before the episode: what a client made of
    a chunk only the client knows.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.history = History(service.ticks)
        self.previous_s: float | None = None

    def greeting(self) -> bytes:
        """Return the metadata frame."""
        return wire.pack(metadata(self.service, "openpi"), "openpi")

    async def answer(self, data: bytes | str) -> bytes:
        """Return {"actions": (H, A), "server_timing": {...}} and, where the policy points, "points"."""
        begun = time.perf_counter()
        message = wire.unpack(data, limit=self.service.max_message)
        obs = self.service.reader.read(message)
        if message.get("reset") is True:
            self.history.reset()
        full = self.history.push(obs)
        content: dict[str, Any] = {}
        timing: dict[str, float] = {}
        if message.get("remember") is not True:
            if self.service.previous:
                full = dataclasses.replace(full, prev_actions=self.service.reader.executed(message))
            asked = time.perf_counter()
            content = chunk_and_points(await self.service.batcher.predict(full))
            timing["infer_ms"] = 1000 * (time.perf_counter() - asked)
        if self.previous_s is not None:
            timing["prev_total_ms"] = 1000 * self.previous_s
        reply = wire.pack({**content, "server_timing": timing}, "openpi")
        self.previous_s = time.perf_counter() - begun
        return reply


class VlaEvalSession:
    """The protocol of vla-eval's model servers: numbered messages, one action per observation, errors as messages.

    Every action that is answered counts as executed.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        size = service.reader.spec.action_size
        self.history = History(service.ticks, previous=service.previous, actions=size)
        self.queue = ChunkQueue(service.execute)

    def greeting(self) -> None:
        """Return nothing: here the client speaks first."""

    async def answer(self, data: bytes | str) -> bytes | None:
        """Return "hello" to "hello", "action" to "observation", "error" to what is refused, and nothing else."""
        seq = 0
        try:
            message = wire.unpack(data, limit=self.service.max_message)
            seq = message["seq"] if isinstance(message.get("seq"), int) else 0
            kind, payload = _parts(message)
            if kind == "hello":
                return self._message("hello", self._hello(), seq)
            if kind == "observation":
                return self._message("action", {"actions": await self._act(payload)}, seq)
        except SinewError as error:
            self.service.note(f"refused: {error}")
            return self._message("error", {"error": str(error)}, seq)
        if kind == "episode_start":
            self.history.reset()
            self.queue.reset()
        elif kind == "error":
            self.service.note(f"the client reports: {str(payload)[:500]}")
        return None

    async def _act(self, payload: Mapping[str, Any]) -> np.ndarray[Any, Any]:
        """Return the action (A,) of this tick."""
        row = np.zeros(1, dtype=np.int64)
        full = self.history.push(self.service.reader.read(payload))
        if self.queue.wanting(row).any():
            prediction = await self.service.batcher.predict(full)
            self.queue.put(row, prediction.chunk[None])
        actions = self.queue.take(row)
        self.history.acted(actions, row)
        return actions[0]

    def _hello(self) -> dict[str, Any]:
        """Return who serves and what is given and taken, in the terms of vla-eval's ``DimSpec``."""
        spec = self.service.reader.spec
        actions = {
            "name": "actions",
            "dims": spec.action_size,
            "format": spec.kind,
            "description": _units(spec.action, spec.action_units),
        }
        takes: dict[str, Any] = {
            "image": {"name": "image", "dims": 0, "format": "rgb_hwc_uint8"},
            "language": {"name": "language", "dims": 0, "format": "language"},
        }
        if spec.state:
            described = _units(spec.state, spec.state_units)
            takes["state"] = {"name": "state", "dims": spec.state_size, "format": "raw", "description": described}
        return {
            "harness_version": f"sinew {__version__}",
            "protocol_version": VLA_EVAL_VERSION,
            "model_server": "sinew",
            "capabilities": {},
            "action_spec": {"actions": actions},
            "observation_spec": takes,
            "observation_params": {"send_state": bool(spec.state), "send_wrist_image": len(spec.cameras) > 1},
            "metadata": metadata(self.service, "vla-eval"),
        }

    def _message(self, kind: str, payload: Mapping[str, Any], seq: int) -> bytes:
        return wire.pack({"type": kind, "payload": payload, "seq": seq, "timestamp": time.time()}, "vla-eval")


PROTOCOLS: dict[wire.Protocol, type[Session]] = {"openpi": OpenpiSession, "vla-eval": VlaEvalSession}


def metadata(service: Service, protocol: wire.Protocol) -> dict[str, Any]:
    """Return what a client must know: the robot, the keys, and how chunks and history are meant."""
    return {
        "server": f"sinew {__version__}",
        "protocol": protocol,
        "spec": configs.to_dict(service.reader.spec),
        "keys": to_plain(service.reader.keys),
        "resize": service.reader.resize,
        "history": service.ticks,
        "previous": service.previous,
        "action_horizon": service.horizon,
        "execute": service.execute,
    }


def chunk_and_points(prediction: Prediction) -> dict[str, Any]:
    """Return a prediction as a reply; points are plain lists, for openpi's broker slices every array by step."""
    points = {name: value.tolist() for name, value in prediction.points.items()}
    return {"actions": prediction.chunk, **({"points": points} if points else {})}


def _parts(message: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return type and payload of a vla-eval message.

    Raises:
        DataError: a field is missing or not what the protocol says.
    """
    missing = [name for name in ("type", "payload", "seq", "timestamp") if name not in message]
    if missing:
        raise DataError(f"the message has no {', '.join(missing)}; it has {', '.join(message) or 'nothing'}.")
    kind, payload = message["type"], message["payload"]
    if kind not in VLA_EVAL_TYPES:
        raise DataError(f"message type {str(kind)[:40]!r} is unknown; known are {', '.join(VLA_EVAL_TYPES)}.")
    if not isinstance(message["seq"], int) or not isinstance(payload, dict):
        raise DataError(f"a {kind} message needs a whole number as seq and a map as payload.")
    return kind, payload


def _units(names: tuple[str, ...], units: tuple[str, ...]) -> str:
    return ", ".join(f"{name} [{unit}]" for name, unit in zip(names, units, strict=True))
