"""The head of ACT: a transformer that reads a scene and a style, and answers with a chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sinew.models.actions import ActionLoss
from sinew.models.detr import DetrStack, LayerSizes, Placed, line_positions

if TYPE_CHECKING:
    from sinew.core.types import Batch, Features, RobotSpec
    from sinew.models.heads.config import ActHeadConfig


class ActHead(nn.Module):
    """Action chunking with transformers (Zhao 2023, arXiv:2304.13705).

    In training an encoder looks at the actions to come and puts what is particular to them, the style, into a few
    numbers with a price on what they say (a conditional VAE). Acting, the style is zero: the mean of the prior.
    Differs from the paper in that two-valued actions are classified, and in that padded steps do not count.

    Args:
        config: sizes.
        width: D of the features.
        horizon: H.
        spec: whose A actions.
    """

    def __init__(self, config: ActHeadConfig, width: int, horizon: int, spec: RobotSpec) -> None:
        super().__init__()
        self.config, self.horizon = config, horizon
        self.loss_per_row = ActionLoss(spec, config.binary_weight)
        sizes = LayerSizes(width, config.heads, config.hidden, config.dropout, config.activation, config.pre_norm)
        self.encoder = DetrStack(sizes, config.encoder_layers)
        self.decoder = DetrStack(sizes, config.decoder_layers, memory=True)
        self.steps = nn.Parameter(torch.randn(horizon, width))
        self.style = nn.Linear(config.latent, width)
        self.style_position = nn.Parameter(torch.randn(1, width))
        self.out = nn.Linear(width, spec.action_size)
        self.posterior = None
        if config.variational:
            self.posterior = Posterior(sizes, config, horizon, spec)

    def forward(self, features: Features, style: Tensor) -> Tensor:
        """Return raw chunks (B, H, A) in a style (B, latent): values, and logits where two-valued."""
        scene = self.encoder(self._placed(features, style))
        queries = Placed(scene.tokens.new_zeros(len(style), *self.steps.shape), self.steps)
        return self.out(self.decoder(queries, scene).tokens)

    def loss(self, features: Features, batch: Batch[Tensor]) -> Tensor:
        """Return the loss per row, (B,): L1, and the price of the style (KL divergence from a standard normal)."""
        if self.posterior is None:
            return self.loss_per_row(self(features, self._no_style(features)), batch)
        mean, log_variance = self.posterior(batch)
        style = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        price = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(dim=-1)
        return self.loss_per_row(self(features, style), batch) + self.config.kl * price

    def sample(self, features: Features, noise: Tensor | None = None) -> Tensor:
        """Return chunks (B, H, A) at unit scale in the mean style; ``noise`` is not used."""
        del noise
        return self.loss_per_row.decide(self(features, self._no_style(features)))

    def _no_style(self, features: Features) -> Tensor:
        return features.tokens.new_zeros(len(features.tokens), self.config.latent)

    def _placed(self, features: Features, style: Tensor) -> Placed:
        """Put the style before the tokens of the scene."""
        tokens = torch.cat([self.style(style)[:, None], features.tokens], dim=1)
        places = features.tokens.new_zeros(features.tokens.shape[1:]) if features.places is None else features.places
        first = self.style_position.expand(*places.shape[:-2], 1, -1)
        ignored = None
        if features.mask is not None:
            ignored = torch.cat([features.mask.new_zeros(len(tokens), 1), ~features.mask], dim=1)
        return Placed(tokens, torch.cat([first, places], dim=-2), ignored)


class Posterior(nn.Module):
    """Reads the style out of the actions to come, in training only.

    Args:
        sizes: of its layers.
        config: of the head.
        horizon: H.
        spec: of the robot.
    """

    def __init__(self, sizes: LayerSizes, config: ActHeadConfig, horizon: int, spec: RobotSpec) -> None:
        super().__init__()
        self.summary = nn.Parameter(torch.randn(1, sizes.width))
        self.state = nn.Linear(spec.state_size, sizes.width)
        self.action = nn.Linear(spec.action_size, sizes.width)
        self.layers = DetrStack(sizes, config.posterior_layers)
        self.out = nn.Linear(sizes.width, 2 * config.latent)
        self.register_buffer("places", line_positions(2 + horizon, sizes.width), persistent=False)
        self.places: Tensor

    def forward(self, batch: Batch[Tensor]) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the style, (B, latent) each; state and actions at unit scale."""
        rows = len(batch.actions)
        first = [self.summary.expand(rows, 1, -1), self.state(batch.obs.state[:, -1])[:, None]]
        tokens = torch.cat([*first, self.action(batch.actions)], dim=1)
        ignored = torch.cat([batch.is_pad.new_zeros(rows, 2), batch.is_pad], dim=1)
        found = self.layers(Placed(tokens, self.places, ignored)).tokens[:, 0]
        mean, log_variance = self.out(found).chunk(2, dim=-1)
        return mean, log_variance
