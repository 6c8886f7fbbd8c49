"""Reads what TensorFlow Datasets wrote a moment ago with sinew, and compares it with what it read back itself."""

import json
import sys
from pathlib import Path

import numpy as np

from sinew.data.formats.ingest import open_source, read_episode, robot_of

SAID = {"embodiment": "arm", "hz": 10, "kind": "delta", "low": "data", "high": "data", "state": [], "state_units": []}


def main(golden):
    for name, action in (("arm", ["action"]), ("parts", ["action.gripper_closedness_action", "action.world_vector"])):
        path = golden / name
        expected = np.load(path / "expected.npz")
        wanted = np.concatenate([expected[column] for column in action], axis=1)
        names = [f"a{value}" for value in range(wanted.shape[1])]
        (path / "spec.json").write_text(json.dumps(SAID | {"action": names, "action_units": ["m"] * len(names)}))
        source = open_source(path)
        spec = robot_of(source)
        episodes = [read_episode(source, number, spec) for number in range(len(source.lengths))]
        assert source.lengths == tuple(expected["lengths"].tolist())
        np.testing.assert_array_equal(np.concatenate([episode.action for episode in episodes]), wanted)
        camera = "wrist_image" if name == "arm" else "image"
        images = np.concatenate([episode.images[camera] for episode in episodes]).transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(images, expected[f"observation.{camera}"])
        print(f"  {name}: {len(wanted)} steps equal")


main(Path(sys.argv[1]))
