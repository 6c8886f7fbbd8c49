"""The remote policy: acts as the local one does, through lost connections, and says what is wrong."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
from numpy.typing import NDArray

from served import TIMEOUT_S, MeanPolicy, queued, serving
from sinew.core.errors import SpecError
from sinew.core.history import History, next_actions
from sinew.core.rollout import run_episodes
from sinew.core.types import NumpyObservation, Rows
from sinew.deploy.client import RemoteError, RemotePolicy
from toy import ToyConfig


def seen(*positions: float, text: str = "go left") -> NumpyObservation:
    """Return one row per position."""
    return NumpyObservation(
        images={"front": np.full((len(positions), 1, 3, 4, 4), 10, np.uint8)},
        state=np.array([[[position, 0.0]] for position in positions], np.float32),
        instruction=(text,) * len(positions),
        privileged={"goal": np.ones((len(positions), 1), np.float32)},
    )


def remote(port: int, **settings: float) -> RemotePolicy:
    """Return a remote policy that gives up soon."""
    return RemotePolicy(f"ws://127.0.0.1:{port}", retry_s=0.3, timeout_s=TIMEOUT_S, **settings)


@pytest.mark.parametrize("ticks", [1, 3])
def test_a_remote_policy_drives_a_world_as_the_local_one_does(ticks: int) -> None:
    world = ToyConfig(size=4).build(3)
    ids = world.states("seen", "left", 5)
    local = run_episodes(world, MeanPolicy(ticks=ticks), ids)
    with serving(MeanPolicy(ticks=ticks)) as server, closing(remote(server.port)) as policy:
        assert policy.spec == world.spec
        assert run_episodes(world, policy, ids) == local


def test_rows_are_asked_together() -> None:
    served = MeanPolicy()
    with (
        serving(served) as server,
        closing(remote(server.port)) as policy,
        closing(remote(server.port)) as other,
        ThreadPoolExecutor(2) as pool,
    ):
        served.gate.clear()
        served.busy.clear()
        first = pool.submit(other.select_action, seen(0.9))
        assert served.busy.wait(TIMEOUT_S)
        actions = pool.submit(policy.select_action, seen(0.1, 0.2, 0.3))
        queued(server, 3)
        served.gate.set()
        assert np.allclose(first.result()[:, 0], [0.9])
        assert np.allclose(actions.result()[:, 0], [0.1, 0.2, 0.3])
        assert np.allclose(policy.points()["hand"], [[0.1], [0.2], [0.3]])
    assert served.batches == [1, 1, 3]


def test_a_lost_connection_is_made_again_with_the_history_it_had() -> None:
    with serving(MeanPolicy(ticks=3, execute=1)) as server, closing(remote(server.port)) as policy:
        policy.select_action(seen(0.0))
        policy.select_action(seen(0.3))
        policy.lines[0].connection.socket.close()  # type: ignore[union-attr]
        assert np.allclose(policy.select_action(seen(0.9))[0, 0], 0.4)
        policy.reset([0])
        assert np.allclose(policy.select_action(seen(0.9))[0, 0], 0.9)


def test_a_server_that_is_not_there_is_named_with_what_to_do() -> None:
    with pytest.raises(RemoteError, match=r"ws://127.0.0.1:9: no policy server answers .*sinew serve"):
        remote(9)


def test_a_server_that_has_gone_is_an_error_within_the_time_allowed() -> None:
    with serving() as server:
        policy = remote(server.port)
        policy.select_action(seen(0.5))
        policy.reset()
    with pytest.raises(RemoteError, match="no policy server answers"):
        policy.select_action(seen(0.5))


def test_a_refusal_is_passed_on_and_the_next_observation_is_taken() -> None:
    with serving() as server, closing(remote(server.port)) as policy:
        with pytest.raises(RemoteError, match=r"refused: .*NaN or infinity in position"):
            policy.select_action(seen(np.nan))
        policy.reset()
        assert np.allclose(policy.select_action(seen(0.5))[0, 0], 0.5)


def test_a_slow_server_is_not_waited_for_without_end() -> None:
    served = MeanPolicy()
    with serving(served) as server, closing(remote(server.port)) as policy:
        served.gate.clear()
        policy.timeout_s = 0.1
        with pytest.raises(RemoteError, match=r"no answer within 0\.1 s"):
            policy.select_action(seen(0.5))
        served.gate.set()


def test_a_chunk_shorter_than_what_is_to_be_executed_is_refused() -> None:
    refused = pytest.raises(RemoteError, match="3 actions, 9 are to be executed")
    with serving() as server, closing(remote(server.port, execute=9)) as policy, refused:
        policy.select_action(seen(0.5))


def test_joined_keys_are_not_guessed() -> None:
    refused = pytest.raises(SpecError, match="joins a")
    with serving(keys=("state=a+b",)) as server, closing(remote(server.port)) as policy, refused:
        policy.select_action(seen(0.5))


class Remembering(MeanPolicy):
    """Moves on from where it was sent last, by the sum of what it executed lately."""

    def __init__(self) -> None:
        super().__init__(execute=2)
        self.history = History(1, previous=3, actions=2)

    def predict_action_chunk(self, obs: NumpyObservation) -> NDArray[np.float32]:
        """Return (B, 3, 2)."""
        assert obs.prev_actions is not None
        chunk = super().predict_action_chunk(obs)
        chunk[:, :, 0] += np.nansum(obs.prev_actions[..., 0], axis=1)[:, None] + 0.1 * np.isnan(obs.prev_actions).sum()
        return chunk

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        """Act as a local policy does."""
        return next_actions(obs, rows, self.history, self.queue, self.predict_action_chunk)


def test_a_remote_policy_is_told_what_was_executed_as_the_local_one_is() -> None:
    world = ToyConfig(size=4).build(1)
    ids = world.states("seen", "left", 2)
    local = run_episodes(world, Remembering(), ids)
    with serving(Remembering()) as server, closing(remote(server.port)) as policy:
        assert policy.metadata["previous"] == 3
        assert run_episodes(world, policy, ids) == local


def test_a_client_that_does_not_say_what_was_executed_is_refused() -> None:
    with serving(Remembering()) as server, closing(remote(server.port)) as policy:
        policy.before = History(1)
        with pytest.raises(RemoteError, match=r"no 'prev_actions' .* 3 actions executed before now.* NaN"):
            policy.select_action(seen(0.0))
