"""Measures the policy server: other people's clients, the cost of the network, batching, and a message of 1 GB."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rows import ROOT, Row
from websockets.sync.client import ClientConnection, connect

from sinew.core.types import NumpyObservation
from sinew.deploy.load import load_policy
from sinew.deploy.wire import pack, unpack

COMMAND = "python benchmarks/goes_on.py --only serve"
PARITY = ROOT / "tests" / "parity"
JUDGES = {"openpi": "unmodified openpi-client 0.1.2", "vla_eval": "unmodified vla-eval 0.8.0 harness"}
SIDE = 224


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (the signature that all parts share)
    """Yield one row a bar."""
    for name, title in JUDGES.items():
        yield judge_row(name, title, build=not quick)
    with tempfile.TemporaryDirectory() as place:
        words = [str(PARITY / "tiny_policy.py"), f"{place}/made", "1", "1", str(SIDE), str(SIDE)]
        subprocess.run([sys.executable, *words], check=True)
        yield from network_rows(Path(place) / "made", trials=60 if quick else 500)
        yield from batching_rows(Path(place) / "made", asks=10 if quick else 100)
        yield flood_row(Path(place) / "made")


def judge_row(name: str, title: str, *, build: bool) -> Row:
    """Return the largest difference that a judge finds; its environment is only made when there is time."""
    venvs = Path(os.environ.get("PARITY_VENVS", ROOT / ".venv" / "parity"))
    command, bar = f"tests/parity/run {name}", "right answers (<= 1e-6), errors readable"
    if not build and not (venvs / name / "made-from").exists():
        return Row(title, None, "", bar=bar, command=command, note="its environment is not made yet")
    done = subprocess.run(
        [str(PARITY / "run"), name],
        env={**os.environ, "PYTHON": sys.executable, "PARITY_VENVS": str(venvs)},
        capture_output=True,
        text=True,
        check=False,
    )
    found = [float(value) for value in re.findall(r"largest difference[a-z ]* ([\d.e+-]+)", done.stdout)]
    refused = done.stdout.count("refused: ")
    note = f"{refused} bad requests were refused with their reason" if done.returncode == 0 else done.stderr[-300:]
    return Row(
        f"{title}: largest difference to the local policy",
        max(found, default=float("nan")),
        "",
        bar=bar,
        ok=done.returncode == 0 and bool(found),
        n=len(found),
        command=command,
        note=note,
    )


def network_rows(made: Path, trials: int) -> Iterator[Row]:
    """Yield what the way over the server costs, each request beside a local one."""
    local, (obs, data) = load_policy(made / "policy", device="cpu"), example(made)
    trip, here, there = np.empty(trials), np.empty(trials), np.empty(trials)
    with server(made) as (port, _), line(port) as connection:
        for number in range(-10, trials):
            begun = time.perf_counter()
            answer = ask(connection, data)
            back = time.perf_counter()
            local.predict_action_chunk(obs)  # type: ignore[attr-defined]
            ended = time.perf_counter()
            if number >= 0:
                trip[number], here[number] = 1000 * (back - begun), 1000 * (ended - back)
                there[number] = unpack(answer, limit=2**24)["server_timing"]["infer_ms"]
    title, extra = f"round trip with two {SIDE}x{SIDE} images", trip - there
    value, low, high = (round(float(one), 2) for one in np.quantile(extra, (0.5, 0.25, 0.75)))
    note = f"medians: round trip {np.median(trip):.2f} ms, of it inference {np.median(there):.2f} ms; quartiles beside"
    yield Row(f"{title}, less inference", value, "ms", "<= 2 ms", value <= 2, trials, low, high, "", COMMAND, note)
    ratio = round(float(np.median(trip) / np.median(here)), 2)
    note = f"local inference {np.median(here):.2f} ms, asked in turn with the server"
    yield Row(f"{title}, against local inference", ratio, "x", n=trials, command=COMMAND, note=note)


def batching_rows(made: Path, asks: int) -> Iterator[Row]:
    """Yield what batches save when eight robots ask at once, in CPU time of the server."""
    _, data = example(made)
    spent: dict[int, float] = {}
    for batch in (1, 8):
        with server(made, "--batch", str(batch)) as (port, process), ThreadPoolExecutor(8) as pool:
            begun = cpu_seconds(process)
            list(pool.map(lambda _: talk(port, data, asks), range(8)))
            spent[batch] = 1000 * (cpu_seconds(process) - begun) / (8 * asks)
    yield Row(
        "eight robots at once: CPU time one by one against batches of up to 8",
        round(spent[1] / spent[8], 2),
        "x",
        n=8 * asks,
        command=COMMAND,
        note=f"{spent[1]:.1f} ms of the server's CPU time an answer one by one, {spent[8]:.1f} in batches",
    )


def flood_row(made: Path) -> Row:
    """Return how much memory a client can make the server take by offering a message of 1 GB."""
    with server(made) as (port, process), line(port) as other:
        before = peak_memory(process)
        sent = offer(port, 2**30)
        answer = unpack(ask(other, example(made)[1]), limit=2**24)
        grown = (peak_memory(process) - before) / 2**20
    return Row(
        "a message of 1 GB: growth of the server's memory",
        round(grown, 1),
        "MiB",
        bar="<= 16 MiB, others served on",
        ok=grown <= 16 and "actions" in answer,
        n=1,
        command=COMMAND,
        note=f"refused at its header; {sent / 2**20:.0f} MiB that came after it were thrown away",
    )


def offer(port: int, size: int) -> int:
    """Send a frame that says it has ``size`` bytes until the server hangs up; return what was sent."""
    key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        raw.sendall(f"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{key}\r\n".encode())
        raw.recv(65536)
        raw.sendall(struct.pack("!BBQ4s", 0x82, 0xFF, size, b"\0\0\0\0"))
        with contextlib.suppress(ConnectionError, TimeoutError):
            while sent < size:
                sent += raw.send(b"\0" * 65536)
    return sent


def example(made: Path) -> tuple[NumpyObservation, bytes]:
    """Return the first recorded observation, and the message that carries it."""
    seen = np.load(made / "expected.npz")
    views = {name: seen[name][0] for name in ("front", "wrist")}
    text = str(seen["instructions"][0])
    obs = NumpyObservation(
        images={name: np.array(view.transpose(2, 0, 1), order="C")[None, None] for name, view in views.items()},
        state=seen["states"][:1, None],
        instruction=(text,),
    )
    content = {f"observation/{name}": view for name, view in views.items()}
    return obs, pack({**content, "observation/state": seen["states"][0], "prompt": text}, "openpi")


@contextmanager
def server(made: Path, *words: str) -> Generator[tuple[int, int]]:
    """Serve the policy in another process; yields its port and number."""
    command = [sys.executable, "-m", "sinew", "serve", str(made / "policy"), "--port", "0", "--device", "cpu", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        port = next(int(found[1]) for text in process.stdout if (found := re.search(r"127\.0\.0\.1:(\d+),", text)))
        try:
            yield port, process.pid
        finally:
            process.send_signal(signal.SIGTERM)


@contextmanager
def line(port: int) -> Generator[ClientConnection]:
    """Connect and take the metadata."""
    with connect(f"ws://127.0.0.1:{port}", compression=None, max_size=None) as connection:
        connection.recv()
        yield connection


def ask(connection: ClientConnection, data: bytes) -> bytes:
    """Send an observation and return the answer's bytes."""
    connection.send(data)
    answer = connection.recv()
    assert isinstance(answer, bytes), answer
    return answer


def talk(port: int, data: bytes, asks: int) -> None:
    """Be one robot."""
    with line(port) as connection:
        for _ in range(asks):
            ask(connection, data)


def cpu_seconds(process: int) -> float:
    """Return the CPU time that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_memory(process: int) -> int:
    """Return the largest resident memory of a process so far [bytes]."""
    status = Path(f"/proc/{process}/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    for found in rows("--quick" in sys.argv):
        print(found)
