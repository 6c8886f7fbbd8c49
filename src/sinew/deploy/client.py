"""Acts by asking a policy server: a remote policy that any world can be given."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sinew.core import config as configs
from sinew.core.errors import DataError, SinewError, SpecError, require
from sinew.core.history import ChunkQueue, History
from sinew.core.types import NumpyObservation, RobotSpec, Rows
from sinew.deploy import wire
from sinew.deploy.requests import PREVIOUS, Keys

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

MAX_ANSWER = 64 * 2**20
"""Largest answer that is read [bytes]."""


class RemoteError(SinewError):
    """The server is not there, or it refused; the message says which."""


class RemotePolicy:
    """A ``Policy`` behind openpi's protocol, one connection per row, so that the server keeps rows apart.

    A lost connection is made again, and the last T ticks are sent again before the present one. Close it after use.

    Args:
        url: such as "ws://127.0.0.1:8000".
        spec: of the robot; None takes it from the server's metadata.
        keys: where the server looks for the parts; None takes them from its metadata.
        execute: actions of a chunk to run; None takes what the metadata says.
        timeout_s: longest wait for one answer.
        retry_s: how long a lost or missing server is tried again.

    Raises:
        RemoteError: no server answers there.
        SpecError: it does not say what it is, and it was not told here.
    """

    def __init__(
        self,
        url: str,
        *,
        spec: RobotSpec | None = None,
        keys: Keys | None = None,
        execute: int | None = None,
        timeout_s: float = 30.0,
        retry_s: float = 5.0,
    ) -> None:
        require("websockets", extra="serve")
        require("msgpack", extra="serve")
        self.url, self.timeout_s, self.retry_s = url, timeout_s, retry_s
        self.lines: list[_Line] = [_Line(self)]
        self.metadata = self.lines[0].connect()
        if spec is None or keys is None:
            missing = [name for name in ("spec", "keys") if name not in self.metadata]
            if missing:
                raise SpecError(f"{url}: the server's metadata has no {', '.join(missing)}. Pass spec= and keys=.")
        self._spec = spec or configs.from_dict(RobotSpec, self.metadata["spec"], f"{url} (metadata)")
        self.keys = keys or configs.from_dict(Keys, self.metadata["keys"], f"{url} (metadata)")
        self.ticks = _whole(self.metadata, "history", 1, url)
        self.queue = ChunkQueue(execute or _whole(self.metadata, "execute", 1, url))
        previous = _whole(self.metadata, "previous", 0, url, least=0)
        self.before = History(1, previous=previous, actions=self._spec.action_size)
        self._points: dict[str, NDArray[np.float32]] = {}

    @property
    def spec(self) -> RobotSpec:
        """The robot that the server's policy was made for."""
        return self._spec

    def reset(self, rows: Rows = None) -> None:
        """Forget these rows, here and on the server with their next observation."""
        self.queue.reset(rows)
        self.before.reset(rows)
        for row in range(len(self.lines)) if rows is None else rows:
            if row < len(self.lines):
                self.lines[row].reset()

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        """Return actions (B, A); asks the server for all rows whose chunk is used up, at the same time.

        Raises:
            RemoteError: the server is gone for longer than ``retry_s``, or refused.
        """
        index = np.arange(obs.num_rows) if rows is None else np.asarray(rows, dtype=np.int64)
        while len(self.lines) <= index.max(initial=-1):
            self.lines.append(_Line(self))
        obs = self.before.push(obs, index)
        wanting = self.queue.wanting(index)
        asked = [
            (position, self.lines[row]) for position, row in enumerate(index) if self.ticks > 1 or wanting[position]
        ]
        for position, line in asked:
            line.send(self._message(obs, position, think=bool(wanting[position])))
        answers = {position: line.receive() for position, line in asked}
        if wanting.any():
            thought = [answers[int(position)] for position in np.flatnonzero(wanting)]
            self.queue.put(index[wanting], np.stack([self._chunk(answer) for answer in thought]))
            self._points = _stacked(thought)
        actions = self.queue.take(index)
        self.before.acted(actions, index)
        return actions

    def points(self) -> Mapping[str, NDArray[np.float32]]:
        """Return the points of the last answers, (B, k) by name; empty where the server sends none."""
        return self._points

    def close(self) -> None:
        """End the connections."""
        for line in self.lines:
            line.close()

    def _message(self, obs: NumpyObservation, position: int, *, think: bool) -> dict[str, Any]:
        parts: dict[str, Any] = {
            _first(self.keys.cameras[name]): image[position, -1].transpose(1, 2, 0)
            for name, image in obs.images.items()
        }
        parts[_first(self.keys.state)] = obs.state[position, -1]
        parts[_first(self.keys.instruction)] = obs.instruction[position]
        if obs.prev_actions is not None:
            parts[PREVIOUS] = obs.prev_actions[position]
        return parts if think else {**parts, "remember": True}

    def _chunk(self, answer: Mapping[str, Any]) -> NDArray[np.float32]:
        chunk = answer.get("actions")
        wanted = self._spec.action_size
        if not isinstance(chunk, np.ndarray) or chunk.ndim != 2 or chunk.shape[1] != wanted:
            found = f"shape {chunk.shape}" if isinstance(chunk, np.ndarray) else type(chunk).__name__
            raise RemoteError(
                f"{self.url}: answered actions of {found}; wanted (H, {wanted}). Check the server's robot."
            )
        if len(chunk) < self.queue.execute:
            raise RemoteError(f"{self.url}: answered {len(chunk)} actions, {self.queue.execute} are to be executed.")
        return chunk.astype(np.float32)


class _Line:
    """One row's connection.

    Args:
        policy: whose row it is.
    """

    def __init__(self, policy: RemotePolicy) -> None:
        self.policy = policy
        self.opened = ExitStack()
        self.connection: ClientConnection | None = None
        self.recent: deque[dict[str, Any]] = deque()
        self.fresh = True

    def connect(self) -> Mapping[str, Any]:
        """Return the metadata of the server, tried again for ``retry_s``.

        Raises:
            RemoteError: it does not answer.
        """
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect

        url, deadline = self.policy.url, time.monotonic() + self.policy.retry_s
        while True:
            try:
                opening = connect(url, compression=None, max_size=MAX_ANSWER, open_timeout=self.policy.timeout_s)
                self.connection = self.opened.enter_context(opening)
                return self._read()
            except (OSError, WebSocketException) as error:
                if time.monotonic() > deadline:
                    raise RemoteError(
                        f"{url}: no policy server answers ({error or type(error).__name__}). "
                        "Start one: sinew serve PATH, and give its address."
                    ) from error
            time.sleep(0.1)

    def reset(self) -> None:
        """Let the next observation begin an episode."""
        self.recent.clear()
        self.fresh = True

    def send(self, message: dict[str, Any]) -> None:
        """Send an observation, over a new connection where the old one is lost."""
        if self.fresh:
            message = {**message, "reset": True}
        self.fresh = False
        self.recent.append(message)
        while len(self.recent) > self.policy.ticks:
            self.recent.popleft()
        if self.connection is None:
            self._again()
            return
        from websockets.exceptions import ConnectionClosed

        try:
            self.connection.send(wire.pack(message, "openpi"))
        except ConnectionClosed:
            self._again()

    def receive(self) -> Mapping[str, Any]:
        """Return the answer to what was sent last.

        Raises:
            RemoteError: the server refused, was silent too long, or is gone for good.
        """
        from websockets.exceptions import ConnectionClosed

        try:
            return self._read()
        except ConnectionClosed:
            self._again()
        try:
            return self._read()
        except ConnectionClosed as error:
            raise RemoteError(
                f"{self.policy.url}: the connection was lost twice ({error}). See the server's log."
            ) from error

    def close(self) -> None:
        """End the connection."""
        self.opened.close()
        self.connection = None

    def _again(self) -> None:
        """Connect and send what the server must have seen: the ticks before the present one, then the present one."""
        self.close()
        self.connect()
        assert self.connection is not None  # connect() gives one or raises
        for message in list(self.recent)[:-1]:
            self.connection.send(wire.pack({**message, "remember": True}, "openpi"))
            self._read()
        self.connection.send(wire.pack(self.recent[-1], "openpi"))

    def _read(self) -> Mapping[str, Any]:
        if self.connection is None:
            raise RemoteError(f"{self.policy.url}: the connection is closed.")
        url = self.policy.url
        try:
            answer = self.connection.recv(timeout=self.policy.timeout_s)
        except TimeoutError as error:
            self.close()
            raise RemoteError(f"{url}: no answer within {self.policy.timeout_s:g} s. Hold the robot.") from error
        if isinstance(answer, str):
            self.close()
            raise RemoteError(f"{url}: the server refused: {answer}")
        try:
            return wire.unpack(answer, limit=MAX_ANSWER)
        except DataError as error:
            raise RemoteError(f"{url}: the answer cannot be read: {error}") from error


def _first(expression: str) -> str:
    """Return the key under which to send what a key expression finds."""
    key = expression.partition("|")[0]
    if "+" in key:
        raise SpecError(f"the server joins {key} into one vector, which this client does not send. Pass keys=.")
    return key


def _stacked(answers: list[Mapping[str, Any]]) -> dict[str, NDArray[np.float32]]:
    """Return the points of several answers, (B, k) by name."""
    names = answers[0].get("points", {})
    return {name: np.asarray([answer["points"][name] for answer in answers], dtype=np.float32) for name in names}


def _whole(metadata: Mapping[str, Any], name: str, default: int, url: str, *, least: int = 1) -> int:
    value = metadata.get(name, default)
    if not isinstance(value, int) or value < least:
        raise SpecError(f"{url}: the server's metadata says {name} = {value!r}; wanted a whole number from {least}.")
    return value
