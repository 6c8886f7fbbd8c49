"""The regression head: one pass from features to a chunk."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor, nn

from sinew.models.actions import ActionLoss
from sinew.models.summary import Summary

if TYPE_CHECKING:
    from sinew.core.types import Batch, Features, RobotSpec
    from sinew.models.heads.config import FeatureLayout, MlpHeadConfig


class MlpHead(nn.Module):
    """An MLP that predicts all H actions at once, by L1 as in ACT (Zhao 2023, arXiv:2304.13705) without its CVAE.

    By squared error, if so told, it predicts the mean of all ways that the data know, by L1 the median of each value.

    Two-valued actions are classified; their output is a logit.

    Args:
        config: hidden widths and loss weight.
        width: D of the features.
        horizon: H.
        spec: whose A actions.
        layout: what the features hold.
    """

    def __init__(self, config: MlpHeadConfig, width: int, horizon: int, spec: RobotSpec, layout: FeatureLayout) -> None:
        super().__init__()
        self.summary = Summary(width, layout)
        self.horizon, self.squared = horizon, config.loss == "mse"
        self.loss_per_row = ActionLoss(spec, config.binary_weight)
        sizes = [width, *config.hidden]
        layers: list[nn.Module] = []
        for size_in, size_out in pairwise(sizes):
            layers += [nn.Linear(size_in, size_out), nn.GELU()]
        self.net = nn.Sequential(*layers, nn.Linear(sizes[-1], horizon * spec.action_size))

    def forward(self, features: Features) -> Tensor:
        """Return raw chunks (B, H, A): values, and logits where two-valued."""
        return self.net(self.summary(features)).unflatten(-1, (self.horizon, -1))

    def loss(self, features: Features, batch: Batch[Tensor]) -> Tensor:
        """Return the loss per row, (B,)."""
        raw = self(features)
        missed = raw - batch.actions
        return self.loss_per_row.reduce(missed.square() if self.squared else missed.abs(), raw, batch)

    def sample(self, features: Features, noise: Tensor | None = None) -> Tensor:
        """Return chunks (B, H, A) at unit scale; there is nothing random, so ``noise`` is not used."""
        del noise
        return self.loss_per_row.decide(self(features))
