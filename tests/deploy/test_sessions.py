"""vla-eval's messages: hello, episodes, one action per observation, errors as messages."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest
from websockets.sync.client import ClientConnection, connect

from served import TIMEOUT_S, MeanPolicy, serving
from sinew.deploy.wire import pack, unpack


class Harness:
    """One shard of the harness: numbers its messages."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection, self.seq = connection, 0

    def tell(self, kind: str, payload: Any) -> int:  # noqa: ANN401
        """Send a message and return its number."""
        self.seq += 1
        content = {"type": kind, "payload": payload, "seq": self.seq, "timestamp": 0.0}
        self.connection.send(pack(content, "vla-eval"))
        return self.seq

    def hear(self) -> tuple[str, dict[str, Any], int]:
        """Return type, payload and number of the next message."""
        data = self.connection.recv(timeout=TIMEOUT_S)
        assert isinstance(data, bytes)
        found = unpack(data, limit=2**20)
        return found["type"], found["payload"], found["seq"]

    def act(self, position: float) -> np.ndarray[Any, Any]:
        """Send an observation and return the action."""
        seq = self.tell("observation", observation(position))
        kind, payload, answered = self.hear()
        assert (kind, answered) == ("action", seq)
        return payload["actions"]


def observation(position: float) -> dict[str, Any]:
    """Return an observation in the harness' form."""
    image = np.full((4, 4, 3), 50, dtype=np.uint8)
    return {"images": {"front": image}, "states": np.array([position, 0.0]), "task_description": "go left"}


@contextmanager
def harness(policy: MeanPolicy | None = None, shards: int = 1) -> Generator[list[Harness]]:
    """Run a server and connect shards to it."""
    with serving(policy, protocol="vla-eval") as server, ExitStack() as opened:
        lines = [connect(f"ws://127.0.0.1:{server.port}") for _ in range(shards)]
        yield [Harness(opened.enter_context(line)) for line in lines]


def test_hello_is_answered_with_what_is_served() -> None:
    with harness() as (shard,):
        seq = shard.tell("hello", {"harness_version": "0", "protocol_version": 1, "benchmark": "x"})
        kind, payload, answered = shard.hear()
    assert (kind, answered) == ("hello", seq)
    assert payload["protocol_version"] == 1
    assert payload["observation_params"] == {"send_state": True, "send_wrist_image": False}
    assert payload["observation_spec"]["state"]["dims"] == 2
    assert payload["action_spec"]["actions"]["description"] == "move [m], honk [1]"


def test_chunks_are_played_back_action_by_action_and_an_episode_starts_afresh() -> None:
    policy = MeanPolicy(execute=2)
    with harness(policy) as (shard,):
        shard.tell("episode_start", {"task": {"name": "left"}})
        played = [shard.act(position)[0] for position in (0.1, 0.2, 0.3)]
        shard.tell("episode_end", {"metrics": {"success": True}})
        shard.tell("episode_start", {"task": {"name": "left"}})
        fresh = shard.act(0.9)
    assert np.allclose(played, [0.1, 0.11, 0.3])
    assert np.allclose(fresh, [0.9, 50])
    assert fresh.shape == (2,)
    assert len(policy.batches) == 1 + 3


def test_shards_do_not_mix() -> None:
    with harness(MeanPolicy(ticks=2, execute=1), shards=2) as (one, two):
        pairs = [(one.act(position)[0], two.act(-position)[0]) for position in (0.2, 0.4)]
    assert np.allclose(pairs, [(0.2, -0.2), (0.3, -0.3)])


def test_an_error_is_a_message_and_the_session_goes_on() -> None:
    with harness() as (shard,):
        seq = shard.tell("observation", {"images": {}, "task_description": "go"})
        kind, payload, answered = shard.hear()
        assert (kind, answered) == ("error", seq)
        assert "'images/front'" in payload["error"]
        assert np.allclose(shard.act(0.5), [0.5, 50])


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"type": "observation"}, "has no payload, seq, timestamp"),
        ({"type": "dance", "payload": {}, "seq": 4, "timestamp": 0.0}, "'dance' is unknown"),
        ({"type": "observation", "payload": [], "seq": 4, "timestamp": 0.0}, "a map as payload"),
        ({"type": ["hello"], "payload": {}, "seq": 4, "timestamp": 0.0}, "is unknown"),
    ],
)
def test_a_malformed_message_is_answered_with_an_error(message: dict[str, Any], says: str) -> None:
    with harness() as (shard,):
        shard.connection.send(pack(message, "vla-eval"))
        kind, payload, answered = shard.hear()
    assert kind == "error"
    assert says in payload["error"]
    assert answered == message.get("seq", 0)
