"""Writes a tiny policy with observations and its own answers to them, for judges that cannot import sinew.

python tests/parity/tiny_policy.py DIRECTORY HISTORY EXECUTE [HEIGHT WIDTH] makes DIRECTORY/policy (a checkpoint)
and DIRECTORY/expected.npz: front and wrist (N, h, w, 3), states (N, S), instructions (N), chunks (N, H, A) of lone
observations, and actions (N, A) of an episode that shows them in this order, with the policy's history and its
chunks played back.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import torch

from sinew.core.types import CameraSpec, NumpyObservation, RobotSpec, Statistics
from sinew.deploy.load import load_policy
from sinew.models.config import GroundingConfig, LanguageConfig, PolicyConfig
from sinew.models.language import train_tokenizer
from sinew.models.policy import VLAPolicy

SENTENCES = ("go left", "go to the right")
SPEC = RobotSpec(
    embodiment="parity",
    cameras={},
    state=("x", "y", "z"),
    state_units=("m", "m", "m"),
    action=("dx", "dy", "grip"),
    action_units=("m", "m", "1"),
    low=(-1.0, -1.0, 0.0),
    high=(1.0, 1.0, 1.0),
    hz=10.0,
    kind="delta",
    binary=("grip",),
    gripper_sign=1,
)
CONFIG = PolicyConfig(
    language=LanguageConfig(width=16, layers=1, heads=2),
    grounding=GroundingConfig(points=(("thing", 2),)),
    width=32,
    horizon=4,
)


def main(place: Path, history: int, execute: int, height: int = 48, width: int = 64) -> None:
    """Write both."""
    torch.manual_seed(1)
    spec = dataclasses.replace(SPEC, cameras={name: CameraSpec(height, width) for name in ("front", "wrist")})
    config = dataclasses.replace(CONFIG, history=history, execute=execute)
    policy = VLAPolicy(config, spec, train_tokenizer(set(SENTENCES)))
    one = {size: np.ones(size, dtype=np.float32) for size in (2, 3)}
    statistics = {size: Statistics(0 * ones, ones, -ones, ones, -ones, ones, 10) for size, ones in one.items()}
    policy.fit_normalizer({"state": statistics[3], "action": statistics[3], "targets.thing": statistics[2]})
    (place / "policy").mkdir(parents=True)
    policy.save_pretrained(place / "policy")

    local = load_policy(place / "policy", device="cpu")
    rng = np.random.default_rng(2)
    steps = [look(rng, spec, number) for number in range(12)]
    chunks = [alone(local, obs) for obs in steps]
    local.reset()
    actions = [local.select_action(obs) for obs in steps]
    np.savez(
        place / "expected.npz",
        front=np.stack([obs.images["front"][0, 0].transpose(1, 2, 0) for obs in steps]),
        wrist=np.stack([obs.images["wrist"][0, 0].transpose(1, 2, 0) for obs in steps]),
        states=np.concatenate([obs.state[:, 0] for obs in steps]),
        instructions=np.array([obs.instruction[0] for obs in steps]),
        chunks=np.concatenate(chunks),
        actions=np.concatenate(actions),
    )


def alone(policy: VLAPolicy, obs: NumpyObservation) -> np.ndarray:
    """Return the chunk (1, H, A) of an observation that begins an episode."""
    policy.reset()
    return policy.predict_action_chunk(policy.history.push(obs))


def look(rng: np.random.Generator, spec: RobotSpec, number: int) -> NumpyObservation:
    """Return a random observation of one row."""
    return NumpyObservation(
        images={
            name: rng.integers(0, 256, (1, 1, 3, camera.height, camera.width), dtype=np.uint8)
            for name, camera in spec.cameras.items()
        },
        state=rng.uniform(-1, 1, (1, 1, 3)).astype(np.float32),
        instruction=(SENTENCES[number // 6],),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
