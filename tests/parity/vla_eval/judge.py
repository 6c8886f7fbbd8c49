"""Runs vla-eval's harness against a server, several shards at once, and looks at its error path."""

import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import anyio
import numpy as np
from vla_eval import api
from vla_eval.connection import Connection
from vla_eval.protocol import numpy_codec


def episodes(url, path, count, out):
    config = {
        "server": {"url": url},
        "output_dir": out,
        "benchmarks": [
            {"benchmark": "recorded:RecordedBenchmark", "episodes_per_task": count, "params": {"path": path}}
        ],
    }
    (result,) = api.run(config, docker=False, no_save=True)
    return [episode for task in result["tasks"] for episode in task["episodes"]]


async def errors(url, path):
    recorded = np.load(path)
    good = {
        "images": {"front": recorded["front"][0], "wrist": recorded["wrist"][0]},
        "states": recorded["states"][0],
        "task_description": str(recorded["instructions"][0]),
    }
    async with Connection(url) as connection:
        assert connection.server_info["protocol_version"] == 1, connection.server_info
        await connection.start_episode({"task": {"name": "recorded"}})
        for changes, words in (({"images": {}}, "images/front"), ({"states": np.zeros(8)}, "3 (x, y, z)")):
            try:
                await connection.act({**good, **changes})
            except RuntimeError as error:
                assert words in str(error), error
                print("  refused:", error)
            else:
                raise AssertionError(f"not refused: {words}")
        action = await connection.act(good)  # the same connection goes on
        assert np.abs(action["actions"] - recorded["actions"][0]).max() <= 1e-6


def main(port, path):
    url = f"ws://127.0.0.1:{port}"
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
        assert answer.status == 200
    for image_format in ("png", "raw"):
        numpy_codec.set_image_format(image_format)
        with ThreadPoolExecutor(3) as pool:
            shards = list(pool.map(lambda shard: episodes(url, path, 2, f"shard{shard}"), range(3)))
        found = [episode for shard in shards for episode in shard]
        assert len(found) == 6 and all(episode["metrics"]["success"] for episode in found), found
        worst = max(episode["metrics"]["worst"] for episode in found)
        print(f"  {len(found)} episodes in 3 shards at once, images as {image_format}, largest difference {worst:.1e}")
    anyio.run(errors, url, path)
    print("  vla-eval", version("vla-eval"), "with numpy", np.__version__)


main(int(sys.argv[1]), sys.argv[2])
