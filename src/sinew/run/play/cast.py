"""Who plays: the world, the policy that acts in it, and the shield between the two."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import ConfigError
from sinew.core.spec import check_spec
from sinew.core.types import EnvConfig, NumpyObservation, Policy, RobotSpec, Rows
from sinew.envs.playable import Playable
from sinew.safety.limits import ShieldLimits, limits_from_spec, load_limits
from sinew.safety.shield import Shield, ShieldedPolicy

EXPERT = "expert"


class Overheard:
    """A policy that acts as the one it wraps and remembers what that one wanted.

    Attributes:
        wish: (A,) what it last wanted to do in its first row, physical units.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.wish = np.zeros(policy.spec.action_size, dtype=np.float32)

    @property
    def spec(self) -> RobotSpec:
        """The robot this policy was made for."""
        return self.policy.spec

    def reset(self, rows: Rows = None) -> None:
        """Forget these rows."""
        self.policy.reset(rows)

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        """Return the wrapped policy's actions (B, A)."""
        actions = self.policy.select_action(obs, rows)
        self.wish = np.array(actions[0], dtype=np.float32)
        return actions


@dataclass(frozen=True)
class Cast:
    """What a play needs.

    Attributes:
        name: of the policy, for people.
        env: the world, one row.
        policy: what acts, before any shield.
        reads: whether it reads sentences itself; a scripted expert needs a world that understands them.
        shield: that can stand between the two, None where the robot's limits are not known.
        shielded: whether it does so from the start.
    """

    name: str
    env: Playable
    policy: Policy
    reads: bool = True
    shield: Shield | None = None
    shielded: bool = False


def cast(
    config: EnvConfig, policy: Policy | None, *, name: str, shield: bool = False, limits: Path | None = None
) -> Cast:
    """Return the cast of a world.

    Args:
        config: of the world.
        policy: what acts; None means the world's scripted expert.
        name: of the policy, for people.
        shield: whether a shield stands between policy and world from the start.
        limits: file with the shield's limits; by default those that the robot's spec implies.

    Raises:
        ConfigError: the world cannot be played with, or the shield has no limits.
        SpecError: the policy was made for another robot.
    """
    env = config.build(1)
    if not isinstance(env, Playable):
        raise ConfigError(
            f"the world {config.kind} cannot be played with, it offers no hands. Give it what docs/play.md lists."
        )
    actor = config.expert() if policy is None else policy
    check_spec(actor.spec, env.spec)
    known: ShieldLimits | None = None
    if limits is not None:
        known = load_limits(limits)
    elif shield or env.spec.kind == "delta":
        known = limits_from_spec(env.spec)
    guard = None if known is None else Shield(known, actor.spec)
    return Cast(name, env, actor, policy is not None, guard, shield or limits is not None)


def cast_run(path: Path, *, policy: str, device: str, shield: bool, limits: Path | None) -> Cast:
    """Return the cast of a run or checkpoint: its own world, and its policy or the scripted expert.

    Args:
        path: of the run or checkpoint.
        policy: ``trained`` or ``expert``.
        device: auto, cpu, cuda or mps.
        shield: whether a shield stands between policy and world from the start.
        limits: file with the shield's limits; by default those that the robot's spec implies.

    Raises:
        CheckpointError: there is no policy, or no run around it.
        ConfigError: the run knows no world, or one that cannot be played with.
    """
    from sinew.deploy.load import load_policy
    from sinew.run.measuring import policy_and_config

    directory, config = policy_and_config(path)
    expert = policy == EXPERT
    name = "scripted expert" if expert else path.resolve().name
    return cast(
        config.world, None if expert else load_policy(directory, device=device), name=name, shield=shield, limits=limits
    )


def actor(cast: Cast) -> Policy:
    """Return what acts: the policy, behind the shield where that is wanted."""
    return cast.policy if cast.shield is None or not cast.shielded else ShieldedPolicy(cast.policy, cast.shield)
