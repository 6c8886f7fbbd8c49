"""The server as clients meet it: right answers, one clear error each, memories kept apart, an orderly end."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import urllib.request
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from served import TIMEOUT_S, MeanPolicy, message, queued, serving
from sinew.core.errors import ConfigError
from sinew.deploy.serve import PolicyServer, ServeConfig, is_loopback
from sinew.deploy.wire import pack, unpack

ROOT = Path(__file__).resolve().parents[1]


@contextlib.contextmanager
def client(server: PolicyServer) -> Generator[ClientConnection]:
    """Connect and take the metadata frame."""
    with connect(f"ws://127.0.0.1:{server.port}", compression=None, max_size=None) as connection:
        connection.recv(timeout=TIMEOUT_S)
        yield connection


def ask(connection: ClientConnection, content: dict[str, Any]) -> dict[str, Any]:
    """Send an observation and return the answer."""
    connection.send(pack(content, "openpi"))
    answer = connection.recv(timeout=TIMEOUT_S)
    assert isinstance(answer, bytes), answer
    return dict(unpack(answer, limit=2**20))


def refusal(connection: ClientConnection, data: bytes | str) -> str:
    """Send what must be refused; return the text frame that says why and see the connection closed with 1011."""
    connection.send(data)
    answer = connection.recv(timeout=TIMEOUT_S)
    assert isinstance(answer, str)
    with pytest.raises(ConnectionClosed) as closed:
        connection.recv(timeout=TIMEOUT_S)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1011
    return answer


def test_metadata_comes_first_and_says_what_is_wanted() -> None:
    with serving(keys=("state=joints",)) as server, connect(f"ws://127.0.0.1:{server.port}") as connection:
        first = connection.recv(timeout=TIMEOUT_S)
    assert isinstance(first, bytes)
    told = unpack(first, limit=2**20)
    assert told["spec"]["action"] == ["move", "honk"]
    assert told["keys"]["state"] == "joints"
    assert told["keys"]["cameras"] == {"front": "observation/image|observation/front|images/front"}
    assert (told["history"], told["action_horizon"], told["execute"]) == (1, 3, 2)


def test_the_answer_is_the_policys_chunk() -> None:
    with serving() as server, client(server) as connection:
        answer = ask(connection, message(0.5))
        second = ask(connection, message(-0.5))
    assert np.allclose(answer["actions"], [[0.5, 100], [0.51, 100], [0.52, 100]])
    assert answer["actions"].dtype == np.float32
    assert answer["points"] == {"hand": [0.5]}
    assert answer["server_timing"]["infer_ms"] > 0
    assert second["server_timing"]["prev_total_ms"] > 0


def test_two_clients_interleaved_keep_separate_histories() -> None:
    with serving(MeanPolicy(ticks=3)) as server, client(server) as one, client(server) as two:
        seen = [
            (ask(one, message(p))["actions"][0, 0], ask(two, message(-p))["actions"][0, 0]) for p in (0.0, 0.3, 0.9)
        ]
    assert np.allclose([first for first, _ in seen], [0.0, 0.1, 0.4])
    assert np.allclose([second for _, second in seen], [0.0, -0.1, -0.4])


def test_reset_forgets_and_remember_only_adds() -> None:
    with serving(MeanPolicy(ticks=2)) as server, client(server) as connection:
        ask(connection, message(0.2))
        assert np.allclose(ask(connection, message(0.8, reset=True))["actions"][0, 0], 0.8)
        assert "actions" not in ask(connection, message(0.4, remember=True))
        assert np.allclose(ask(connection, message(0.0))["actions"][0, 0], 0.2)


def test_requests_that_wait_together_are_answered_in_one_batch_each_with_its_own() -> None:
    policy = MeanPolicy()
    positions = np.linspace(0, 1, 8)
    with serving(policy, batch=4) as server, ThreadPoolExecutor(8) as pool:

        def one(position: float) -> float:
            with client(server) as connection:
                return float(ask(connection, message(position))["actions"][0, 0])

        policy.gate.clear()
        policy.busy.clear()
        answers = [pool.submit(one, positions[0])]
        assert policy.busy.wait(TIMEOUT_S)
        answers += [pool.submit(one, position) for position in positions[1:]]
        queued(server, 7)
        policy.gate.set()
        assert np.allclose([answer.result() for answer in answers], positions)
    assert policy.batches == [1, 1, 4, 3]  # the first is the server's own


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x81\xa1", "not a msgpack message"),
        ("hello", "a text frame"),
        (pack(message(observation__state=None), "openpi"), "no 'observation/state|state'"),
        (pack(message(observation__image=np.zeros((8, 8, 3), np.uint8)), "openpi"), "8 x 8 .* made for 4 x 4"),
        (pack(message(prompt="fail"), "openpi"), r"the policy failed \(RuntimeError: the coffee is cold\)"),
        (pack(message(prompt="nan"), "openpi"), "NaN or infinity"),
    ],
    ids=["cut", "text", "missing", "size", "failure", "nan"],
)
def test_a_refusal_says_why_and_others_are_served_on(data: bytes | str, says: str) -> None:
    with serving() as server:
        with client(server) as other, client(server) as connection:
            assert re.search(says, refusal(connection, data))
            assert np.allclose(ask(other, message(0.5))["actions"][0, 0], 0.5)
        assert any(re.search(says, line) for line in server.log)  # type: ignore[attr-defined]


def test_an_object_array_is_refused() -> None:
    evil = {b"__ndarray__": True, b"data": b"\0" * 8, b"dtype": "|O", b"shape": [1]}
    with serving() as server, client(server) as connection:
        assert "never read" in refusal(
            connection, msgpack.packb(message(observation__state=evil, observation__image=0))
        )


def resident() -> int:
    """Return the bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_message_of_a_gigabyte_is_refused_at_its_header() -> None:
    key = base64.b64encode(os.urandom(16)).decode()
    with (
        serving() as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_S) as raw,
        raw.makefile("rb") as stream,
    ):
        raw.sendall(
            f"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        assert b"101" in stream.readline()
        while stream.readline() != b"\r\n":
            pass
        stream.read(struct.unpack("!xxH", stream.read(4))[0])  # the metadata frame
        before = resident()
        raw.sendall(struct.pack("!BBQ4s", 0x82, 0xFF, 2**30, b"\0\0\0\0") + b"\0" * 100_000)
        answer = stream.read(60)
        grown = resident() - before
    assert grown < 4 * 2**20
    assert answer[0] == 0x88  # a close frame
    assert struct.unpack("!H", answer[2:4])[0] == 1009
    assert b"exceeds limit" in answer


def test_a_message_in_many_small_frames_is_bounded_too() -> None:
    with serving(max_message=200_000) as server, client(server) as connection:
        with contextlib.suppress(ConnectionClosed):  # it may be over before all is sent
            connection.send([b"x" * 50_000] * 200)
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=TIMEOUT_S)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


def test_a_web_page_is_turned_away() -> None:
    with serving() as server, pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://127.0.0.1:{server.port}", origin="http://evil.example")


@pytest.mark.parametrize(("path", "body"), [("healthz", "OK\n"), ("health", '{"status": "ok"}\n')])
def test_probes_are_answered(path: str, body: str) -> None:
    with (
        serving() as server,
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}/{path}", timeout=TIMEOUT_S) as answer,
    ):
        assert answer.status == 200
        assert answer.read().decode() == body


def test_a_taken_port_is_named() -> None:
    async def listen(port: int) -> None:
        async with PolicyServer(MeanPolicy(), ServeConfig(port=port), print).running():
            pass

    with serving() as server, pytest.raises(ConfigError, match=f"--port {server.port}: cannot be listened on"):
        asyncio.run(listen(server.port))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch": 0}, "--batch 0: wanted at least 1."),
        ({"max_message": 10}, "--max-message 10: wanted at least 1024 bytes."),
        ({"port": 70000}, "--port 70000: wanted 0 to 65535, where 0 takes a free one."),
        (
            {"batch": 0, "max_message": 10},
            "--batch 0: wanted at least 1. --max-message 10: wanted at least 1024 bytes.",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as found:
        PolicyServer(MeanPolicy(), ServeConfig(**settings), print)
    assert str(found.value) == message


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("robot.lan", False),
        ("10.0.0.1", False),
    ],
)
def test_loopback_is_told_from_the_rest(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_sigterm_finishes_the_answer_then_stops() -> None:
    command = [sys.executable, str(ROOT / "served.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "thinking\n"  # the server's own
        port = int(process.stdout.readline().partition("127.0.0.1:")[2].partition(",")[0])
        with connect(f"ws://127.0.0.1:{port}") as connection, connect(f"ws://127.0.0.1:{port}") as idle:
            connection.recv(timeout=TIMEOUT_S)
            idle.recv(timeout=TIMEOUT_S)
            connection.send(pack(message(0.5), "openpi"))
            assert next(text for text in process.stdout if "connected" not in text) == "thinking\n"
            process.send_signal(signal.SIGTERM)
            answer = connection.recv(timeout=TIMEOUT_S)
            assert isinstance(answer, bytes)
            with pytest.raises(ConnectionClosed, match="the server stops"):
                idle.recv(timeout=TIMEOUT_S)
        assert process.wait(timeout=TIMEOUT_S) == 0
        assert process.stdout.read().endswith("Stopped.\n")
    assert np.allclose(unpack(answer, limit=2**20)["actions"][0, 0], 0.5)
