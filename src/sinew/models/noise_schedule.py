"""How much noise each step of a diffusion has, and the step from one to the next: DDPM and DDIM in one formula."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

Prediction = Literal["epsilon", "sample", "velocity"]
BETA_MOST = 0.999


class NoiseSchedule(nn.Module):
    """The squared cosine schedule (Nichol 2021, arXiv:2102.09672), walked in fewer steps than it was trained with.

    x_k = sqrt(a_k) x + sqrt(1 - a_k) noise for k = 0 .. K - 1. A step from k to an earlier j is DDIM's (Song 2021,
    arXiv:2010.02502) with eta between 0, where nothing is drawn, and 1, which is DDPM (Ho 2020,
    arXiv:2006.11239) where j = k - 1. The noise that remains is taken from the *bounded* estimate of x, so that the two
    agree where bounds bite; diffusers calls that ``use_clipped_model_output``.

    Ours rather than diffusers' schedulers: these forty lines run on the meta device, inside an exported graph and
    under the gradient of a log-probability, and theirs would be a dependency of every robot. A golden file of theirs
    holds ours to the same numbers.

    Args:
        length: K.
        steps: that are walked, evenly spaced from K - 1 down ("trailing").
        prediction: what the network says of x_k: the noise, x, or sqrt(a) noise - sqrt(1 - a) x (Salimans 2022).
        leading: walk evenly spaced steps that end at 0 instead.
        bounded: take the noise that remains from the bounded estimate.
    """

    def __init__(
        self, length: int, steps: int, prediction: Prediction, *, leading: bool = False, bounded: bool = True
    ) -> None:
        super().__init__()
        self.length, self.prediction, self.bounded = length, prediction, bounded
        places = [math.cos((k / length + 0.008) / 1.008 * math.pi / 2) ** 2 for k in range(length + 1)]
        betas = [min(1 - places[k + 1] / places[k], BETA_MOST) for k in range(length)]
        alphas = torch.cumprod(1 - torch.tensor(betas, dtype=torch.float32), dim=0)
        self.walk = tuple(round(length - number * length / steps) - 1 for number in range(steps))
        if leading:
            self.walk = tuple(number * (length // steps) for number in reversed(range(steps)))
        following = torch.zeros(length, dtype=torch.int64)
        for here, there in zip(self.walk, (*self.walk[1:], -1), strict=True):
            following[here] = there + 1
        self.register_buffer("alphas", alphas, persistent=False)
        self.register_buffer("ends", torch.cat([torch.ones(1), alphas]), persistent=False)
        self.register_buffer("following", following, persistent=False)
        self.alphas: Tensor
        self.ends: Tensor
        self.following: Tensor

    def blur(self, clean: Tensor, noise: Tensor, step: Tensor) -> Tensor:
        """Return x_k (B, ...) of x and noise (B, ...) at k = ``step`` (B,)."""
        alpha = _like(self.alphas[step], clean)
        return alpha.sqrt() * clean + (1 - alpha).sqrt() * noise

    def target(self, clean: Tensor, noise: Tensor, step: Tensor) -> Tensor:
        """Return what the network should say of x_k."""
        if self.prediction == "epsilon":
            return noise
        if self.prediction == "sample":
            return clean
        alpha = _like(self.alphas[step], clean)
        return alpha.sqrt() * noise - (1 - alpha).sqrt() * clean

    def clean(self, blurred: Tensor, said: Tensor, step: Tensor) -> Tensor:
        """Return the estimate of x that follows from what the network said of x_k."""
        if self.prediction == "sample":
            return said
        alpha = _like(self.alphas[step], blurred)
        if self.prediction == "epsilon":
            return (blurred - (1 - alpha).sqrt() * said) / alpha.sqrt()
        return alpha.sqrt() * blurred - (1 - alpha).sqrt() * said

    def transition(
        self, blurred: Tensor, clean: Tensor, step: Tensor, eta: float, free: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return mean (B, ...) and standard deviation (B, 1, ...) of x at the next step of the walk.

        Args:
            blurred: x_k (B, ...).
            clean: the bounded estimate of x.
            step: k (B,), one of ``walk``.
            eta: 0 for DDIM, 1 for DDPM.
            free: the estimate of x before it was bounded, for a schedule that is not ``bounded``; None is ``clean``.
        """
        here, there = _like(self.alphas[step], blurred), _like(self.ends[self.following[step]], blurred)
        source = clean if self.bounded or free is None else free
        noise = (blurred - here.sqrt() * source) / (1 - here).sqrt()
        std = eta * ((1 - there) / (1 - here) * (1 - here / there)).clamp(min=0).sqrt()
        return there.sqrt() * clean + (1 - there - std.square()).clamp(min=0).sqrt() * noise, std


def _like(values: Tensor, rows: Tensor) -> Tensor:
    """Return values (B,) shaped so that they multiply rows (B, ...)."""
    return values.view(-1, *[1] * (rows.ndim - 1))
