"""Asks a server through openpi's own client and compares with what the policy says locally."""

import sys
import urllib.request
from importlib.metadata import version

import numpy as np
from openpi_client import action_chunk_broker, image_tools, websocket_client_policy
from websockets.exceptions import ConnectionClosed


def observations(expected):
    for number in range(len(expected["states"])):
        yield {
            "observation/front": expected["front"][number],
            "observation/wrist": expected["wrist"][number],
            "observation/state": expected["states"][number],
            "prompt": str(expected["instructions"][number]),
        }


def connect(port):
    return websocket_client_policy.WebsocketClientPolicy(host="127.0.0.1", port=port)


def refused(port, observation, *words):
    """A refused observation raises the client's own error, and its text says why."""
    try:
        connect(port).infer(observation)
    except RuntimeError as error:
        assert all(word in str(error) for word in words), str(error)
        print("  refused:", str(error).partition("\n")[2])
    else:
        raise AssertionError(f"not refused: {words}")


def main(port, path):
    expected = np.load(path)
    policy = connect(port)
    metadata = policy.get_server_metadata()
    assert metadata["spec"]["action"] == ["dx", "dy", "grip"], metadata

    chunks = [policy.infer(obs) for obs in observations(expected)]
    worst = max(np.abs(got["actions"] - chunk).max() for got, chunk in zip(chunks, expected["chunks"], strict=True))
    assert worst <= 1e-6, worst
    assert chunks[1]["server_timing"]["infer_ms"] > 0 and chunks[1]["server_timing"]["prev_total_ms"] > 0
    print(f"  {len(chunks)} chunks, largest difference to the local policy {worst:.1e}")

    floats = [{**obs, "observation/front": (obs["observation/front"] + 0.5) / 255} for obs in observations(expected)]
    worst = max(
        np.abs(policy.infer(obs)["actions"] - chunk).max()
        for obs, chunk in zip(floats, expected["chunks"], strict=True)
    )
    assert worst <= 1e-6, worst

    broker = action_chunk_broker.ActionChunkBroker(connect(port), action_horizon=metadata["execute"])
    played = [broker.infer(obs)["actions"] for obs in observations(expected)]
    worst = max(np.abs(got - action).max() for got, action in zip(played, expected["actions"], strict=True))
    assert worst <= 1e-6, worst
    print(f"  {len(played)} actions through ActionChunkBroker, largest difference {worst:.1e}")

    first = next(observations(expected))
    refused(port, {name: value for name, value in first.items() if name != "prompt"}, "'prompt'", "--key instruction=")
    small = image_tools.resize_with_pad(first["observation/front"], 24, 24)
    refused(port, {**first, "observation/front": small}, "24 x 24", "48 x 64", "--resize")
    refused(port, {**first, "observation/state": np.zeros(8)}, "8 values", "3 (x, y, z)")
    refused(port, {**first, "observation/state": np.array([0, np.nan, 0])}, "NaN", "y")

    try:
        connect(port).infer({**first, "more": np.zeros(2**21, dtype=np.uint8)})
    except ConnectionClosed as error:
        assert "1009" in str(error), error
        print("  refused:", error)
    else:
        raise AssertionError("2 MiB were taken where 1 MiB is the limit")

    assert np.abs(policy.infer(first)["actions"] - expected["chunks"][0]).max() <= 1e-6
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz") as answer:
        assert (answer.status, answer.read()) == (200, b"OK\n")
    print("  openpi-client", version("openpi-client"), "with numpy", np.__version__)


main(int(sys.argv[1]), sys.argv[2])
