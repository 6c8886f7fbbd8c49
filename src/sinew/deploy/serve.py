"""Serves a policy over websockets, to clients of openpi or of vla-eval."""

from __future__ import annotations

import asyncio
import contextlib
import http
import ipaddress
import signal
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sinew.core.errors import ConfigError, SinewError, require
from sinew.core.types import NumpyObservation, RobotSpec
from sinew.deploy import wire
from sinew.deploy.batching import Batcher
from sinew.deploy.load import LoadedPolicy
from sinew.deploy.requests import RequestReader, usual_keys
from sinew.deploy.sessions import PROTOCOLS, Service, Session

if TYPE_CHECKING:
    from websockets.asyncio.server import Server, ServerConnection
    from websockets.http11 import Request, Response

MAX_CLIENTS = 64
GRACE_S = 10.0
"""How long a stopping server waits for answers that are being made."""
HEALTH = {"/healthz": "OK\n", "/health": '{"status": "ok"}\n'}
"""What openpi's and vla-eval's probes ask for, and the answer."""


@dataclass(frozen=True)
class ServeConfig:
    """How a policy is served.

    Attributes:
        host: address to listen on; beyond loopback anyone who reaches it can use the policy.
        port: TCP port; 0 takes a free one.
        max_message: largest message [bytes]; a larger one is refused before it is read.
        protocol: whose clients come.
        keys: "NAME=KEY" where a part of the observation has another key than usual.
        resize: letterbox images of another size instead of refusing them.
        instruction: taken when a client sends none; None means that it must send one.
        batch: requests that are answered together when they wait at the same time.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    max_message: int = 16 * 2**20
    protocol: wire.Protocol = "openpi"
    keys: tuple[str, ...] = ()
    resize: bool = False
    instruction: str | None = None
    batch: int = 8


class PolicyServer:
    """Answers clients until it is stopped; use it as ``async with PolicyServer(...).running() as server``.

    Args:
        policy: acts; the server's thread is the only one that may touch it meanwhile.
        config: how it is served.
        note: told in one line what happens.

    Raises:
        ConfigError: a setting cannot be.
    """

    def __init__(self, policy: LoadedPolicy, config: ServeConfig, note: Callable[[str], None]) -> None:
        wrong = [
            f"--{name} {value}: wanted {wanted}."
            for name, value, wanted, fine in (
                ("batch", config.batch, "at least 1", config.batch >= 1),
                ("max-message", config.max_message, "at least 1024 bytes", config.max_message >= 1024),
                ("port", config.port, "0 to 65535, where 0 takes a free one", 0 <= config.port < 65536),
            )
            if not fine
        ]
        if wrong:
            raise ConfigError(" ".join(wrong))
        require("msgpack", extra="serve")
        self.config, self.note = config, note
        reader = RequestReader(
            policy.spec,
            usual_keys(policy.spec, config.protocol).changed(config.keys),
            resize=config.resize,
            instruction=config.instruction,
            previous=policy.history.previous,
        )
        self.service = Service(
            reader=reader,
            batcher=Batcher(policy, config.batch, note),
            ticks=policy.history.ticks,
            previous=policy.history.previous,
            execute=policy.queue.execute,
            horizon=warm_up(policy),
            max_message=config.max_message,
            note=note,
        )
        self.port = config.port
        self.clients = 0
        self.busy = 0
        self.stopping = False

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[PolicyServer]:
        """Listen; on leaving, finish what is being answered, then close every connection.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        listening = require("websockets.asyncio.server", extra="serve")
        try:
            server: Server = await listening.serve(
                self._talk,
                self.config.host,
                self.config.port,
                process_request=self._http,
                origins=[None],  # a web page in someone's browser is no robot
                compression=None,  # a small frame must not unpack into a large one
                max_size=self.config.max_message,
                max_queue=1,
                # vla-eval's simulators block their own event loop for minutes, so its clients answer no pings.
                ping_interval=20 if self.config.protocol == "openpi" else None,
            )
        except OSError as error:
            self.service.batcher.close()
            raise ConfigError(
                f"--host {self.config.host} --port {self.config.port}: cannot be listened on ({error.strerror}). "
                "Choose another port (0 takes a free one), or an address of this machine."
            ) from error
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self.stopping = True
            await self._drain()
            server.close(reason="the server stops")
            await server.wait_closed()
            self.service.batcher.close()

    async def _drain(self) -> None:
        """Wait until nothing is being answered, but not for ever."""
        deadline = time.monotonic() + GRACE_S
        while self.busy and time.monotonic() < deadline:
            await asyncio.sleep(0.01)

    def _http(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer probes; turn clients away when there are too many or the server stops."""
        path = request.path.partition("?")[0]
        if path in HEALTH:
            return connection.respond(http.HTTPStatus.OK, HEALTH[path])
        if self.stopping or self.clients >= MAX_CLIENTS:
            why = "the server stops" if self.stopping else f"{MAX_CLIENTS} clients are connected, no more are taken"
            return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, f"{why}\n")
        return None

    async def _talk(self, connection: ServerConnection) -> None:
        """Serve one client to its end."""
        from websockets.exceptions import ConnectionClosed

        name = "{}:{}".format(*connection.remote_address[:2])
        self.clients += 1
        self.note(f"{name} connected")
        count = 0
        try:
            session = PROTOCOLS[self.config.protocol](self.service)
            greeting = session.greeting()
            if greeting is not None:
                await connection.send(greeting)
            async for data in connection:
                count += 1
                if not await self._reply(connection, session, data):
                    break
        except ConnectionClosed as closed:
            reason = closed.sent.reason if closed.sent is not None else ""
            self.note(f"{name} is gone after {count} messages{f' ({reason})' if reason else ''}")
        else:
            self.note(f"{name} left after {count} messages")
        finally:
            self.clients -= 1

    async def _reply(self, connection: ServerConnection, session: Session, data: bytes | str) -> bool:
        """Answer one message; False ends the connection."""
        self.busy += 1
        try:
            reply = await session.answer(data)
            if reply is not None:
                await connection.send(reply)
        except SinewError as error:
            self.note(f"refused: {error}")
            await connection.send(str(error))
            await connection.close(1011, "the request was refused; the frame before says why")
            return False
        finally:
            self.busy -= 1
        if self.stopping:
            await connection.close(1001, "the server stops")
        return not self.stopping


def serve(policy: LoadedPolicy, config: ServeConfig, note: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then stop in order.

    Args:
        policy: acts.
        config: how.
        note: told in one line what happens.

    Raises:
        ConfigError: a setting cannot be, or the address cannot be listened on.
    """
    asyncio.run(_serve(PolicyServer(policy, config, note)))


async def _serve(server: PolicyServer) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with server.running():
        config = server.config
        host = f"[{config.host}]" if ":" in config.host else config.host
        if not is_loopback(config.host):
            server.note(
                f"WARNING: {config.host} is reachable from other machines. There is no password: "
                "whoever reaches the port can use the policy. Prefer 127.0.0.1 and an SSH tunnel."
            )
        if server.service.ticks > 1:
            server.note(f"The policy sees the last {server.service.ticks} ticks: clients must send every tick.")
        if server.service.previous and config.protocol == "openpi":
            server.note(
                f"The policy sees the last {server.service.previous} executed actions: clients must send prev_actions."
            )
        server.note(
            f"Serving {config.protocol} on ws://{host}:{server.port}, health on http://{host}:{server.port}/healthz"
        )
        await stop.wait()
        server.note("Stopping; what is being answered is finished first.")
    server.note("Stopped.")


def warm_up(policy: LoadedPolicy) -> int:
    """Ask the policy once about nothing, so that the first client does not wait, and return H.

    Raises:
        ConfigError: its chunks do not have the size of its own spec.
    """
    spec = policy.spec
    chunk = policy.predict_action_chunk(policy.history.alike().push(blank(spec)))
    if chunk.ndim != 3 or chunk.shape[0] != 1 or chunk.shape[2] != spec.action_size:
        raise ConfigError(
            f"the policy's chunk has shape {chunk.shape}, its spec says (1, H, {spec.action_size}). Export it again."
        )
    return int(chunk.shape[1])


def blank(spec: RobotSpec) -> NumpyObservation:
    """Return one row of one tick in which nothing is seen."""
    cameras = spec.cameras.items()
    return NumpyObservation(
        images={name: np.zeros((1, 1, 3, camera.height, camera.width), np.uint8) for name, camera in cameras},
        state=np.zeros((1, 1, spec.state_size), np.float32),
        instruction=("",),
    )


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
