"""Sends the flat keys of openpi's DROID example, at another image size, to a server that maps and resizes them."""

import sys

import numpy as np
from openpi_client import image_tools, websocket_client_policy


def main(port, path):
    expected = np.load(path)
    policy = websocket_client_policy.WebsocketClientPolicy(host="127.0.0.1", port=port)
    for number in range(4):
        state = expected["states"][number]
        observation = {
            "observation/exterior_image_1_left": expected["front"][number],
            "observation/wrist_image_left": expected["wrist"][number],
            "observation/joint_position": state[:2],
            "observation/gripper_position": state[2:],
            "prompt": str(expected["instructions"][number]),
        }
        assert np.abs(policy.infer(observation)["actions"] - expected["chunks"][number]).max() <= 1e-6

        large = np.kron(expected["front"][number], np.ones((3, 2, 1), dtype=np.uint8))  # 144 x 128, another shape
        here = image_tools.resize_with_pad(large, 48, 64)
        ours = policy.infer({**observation, "observation/exterior_image_1_left": large})["actions"]
        theirs = policy.infer({**observation, "observation/exterior_image_1_left": here})["actions"]
        assert np.array_equal(ours, theirs), np.abs(ours - theirs).max()
    print("  DROID's keys, joined and mapped; --resize equals the client's resize_with_pad")


main(int(sys.argv[1]), sys.argv[2])
