"""What was executed before now, remembered beside what is seen now."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sinew.core.errors import ConfigError, SpecError
from sinew.core.history import History
from sinew.models.summary import pooled

if TYPE_CHECKING:
    from sinew.core.types import Features, RobotSpec
    from sinew.models.config import LstmConfig, PolicyConfig


class PreviousLstm(nn.Module):
    """An LSTM (Hochreiter 1997) that reads the scene, then the actions executed since, and adds where it ends up.

    The sequence is that of the common tutorial network that puts an LSTM behind its fusion: one vector of the scene
    first, then action by action. It differs in that the outcome is added to every token of the scene in place of being
    all that is left of it, and begins at zero: a policy that starts from weights without memory acts as before. Where
    nothing was executed a learned vector stands in the sequence. In training whole rows lose their past, see
    ``LstmConfig.dropout``.

    Args:
        config: sizes.
        actions: A.
        width: D of the features.
    """

    def __init__(self, config: LstmConfig, actions: int, width: int) -> None:
        super().__init__()
        self.ticks, self.dropout = config.ticks, config.dropout
        self.scene, self.action = nn.Linear(width, config.width), nn.Linear(actions, config.width)
        self.nothing = nn.Parameter(0.02 * torch.randn(config.width))
        self.lstm = nn.LSTM(config.width, config.width, config.layers, batch_first=True)
        self.leave = nn.Linear(config.width, width)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, features: Features, actions: Tensor | None) -> Features:
        """Return the features with the past in them.

        Args:
            features: of the scene.
            actions: (B, P, A) at unit scale, NaN where nothing was executed.

        Raises:
            SpecError: there are none, or not P of them.
        """
        if actions is None or actions.shape[1] != self.ticks:
            found = "none" if actions is None else f"{actions.shape[1]}"
            raise SpecError(
                f"this policy sees the {self.ticks} actions executed before now, {found} came (prev_actions). Cut "
                f"windows with .remembering({self.ticks}), or act through select_action, which remembers them."
            )
        there = ~actions.isnan().any(dim=-1, keepdim=True)
        if self.training and self.dropout:
            kept = torch.rand(len(actions), 1, 1, device=actions.device) >= self.dropout
            there = there & kept
        told = self.action(torch.where(there, actions, torch.zeros_like(actions)))
        past = torch.where(there, told, self.nothing)
        ended, _ = self.lstm(torch.cat([self.scene(pooled(features))[:, None], past], dim=1))
        return dataclasses.replace(features, tokens=features.tokens + self.leave(ended[:, -1:]))


def memory_of(config: PolicyConfig, spec: RobotSpec) -> History:
    """Return an empty history of all that a policy sees of its past, as this robot."""
    return History(config.history, previous=config.num_previous, actions=spec.action_size)


def build_previous(config: PolicyConfig, actions: int, width: int) -> PreviousLstm | None:
    """Return what remembers executed actions, None where nothing is to.

    Args:
        config: of the policy.
        actions: A.
        width: D of the features.

    Raises:
        ConfigError: the head does not read the features that it is added to, or a size makes no sense.
    """
    past = config.previous
    if past is None:
        return None
    if past.ticks < 1 or past.layers < 1 or not 0 <= past.dropout < 1:
        raise ConfigError(
            f"--policy.previous: ticks {past.ticks}, layers {past.layers}, dropout {past.dropout:g}; ticks and layers "
            "are at least 1, dropout is a share from 0 to below 1."
        )
    if (
        getattr(config.head, "expert", None) in ("joint", "interleaved")
        or getattr(config.head, "decoder", None) == "lm"
    ):
        raise ConfigError(
            f"this {config.head.kind} head reads the language model's own keys and values, which previous actions do "
            "not reach. Leave --policy.previous out, or set --policy.head.expert cross (--policy.head.decoder own)."
        )
    return PreviousLstm(past, actions, width)
