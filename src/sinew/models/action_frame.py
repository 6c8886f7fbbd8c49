"""Actions as a policy predicts them, measured from the state at which a chunk begins, and as its robot takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sinew.core.actions import matches
from sinew.core.errors import ConfigError, SpecError

if TYPE_CHECKING:
    from sinew.core.types import RobotSpec
    from sinew.models.config import PolicyConfig

BASES = ("delta", "relative")
"""Kinds whose values are measured from a state."""


class ActionFrame(nn.Module):
    """Takes the state of the moment from absolute actions or puts it back; both in physical units.

    When a chunk is predicted, only the state at its beginning is known. So relative actions, which are measured from
    that one, become absolute exactly, and so do deltas of a single step; deltas of later steps cannot.

    Args:
        spec: says what the robot takes, and which of its values have a state of the same name and unit.
        config: says what is predicted.

    Raises:
        ConfigError: one cannot become the other when a chunk is predicted.
        SpecError: there is no state that the actions could be measured from.
    """

    def __init__(self, spec: RobotSpec, config: PolicyConfig) -> None:
        super().__init__()
        kind = config.actions or spec.kind
        steps = config.horizon > 1 and "delta" in (kind, spec.kind)
        if kind != spec.kind and (steps or "waypoint" in (kind, spec.kind)):
            reason = (
                "a delta is measured from the state of its own step, which nobody knows when the chunk is predicted"
                if steps
                else "a waypoint does not say at which step it is reached"
            )
            raise ConfigError(
                f"--policy.actions {kind}: {spec.embodiment} takes {spec.kind} actions, and {reason}. "
                "Predict relative actions for a robot that takes absolute ones, or one step at a time "
                "(--policy.horizon 1 --policy.execute 1)."
            )
        found = {} if kind == spec.kind else matches(spec, config.measured_from)
        two_valued = [name for name in config.measured_from or () if name in spec.binary]
        if two_valued:
            raise SpecError(f"--policy.measured-from {two_valued[0]}: is two-valued, and not measured from anything.")
        # What is measured from a state has that state taken away on the way in, and put back on the way out.
        self.sign = (kind in BASES) - (spec.kind in BASES)
        self.register_buffer("moved", torch.tensor([n in found for n in range(spec.action_size)]), persistent=False)
        source = [found.get(number, 0) for number in range(spec.action_size)]
        self.register_buffer("source", torch.tensor(source), persistent=False)
        self.moved: Tensor
        self.source: Tensor

    def base(self, state: Tensor) -> Tensor:
        """Return what is added to predicted actions, (B, 1, A), of states (B, T, S)."""
        values = state[:, -1:].index_select(-1, self.source)
        return self.sign * torch.where(self.moved, values, torch.zeros_like(values))

    def predicted(self, actions: Tensor, state: Tensor) -> Tensor:
        """Return actions (B, H, A) that the robot takes as the policy is to predict them."""
        return actions - self.base(state) if self.sign else actions

    def taken(self, actions: Tensor, state: Tensor) -> Tensor:
        """Return predicted actions (B, H, A) as the robot takes them; the reverse, rounded once to float32."""
        return actions + self.base(state) if self.sign else actions
