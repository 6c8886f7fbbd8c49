"""Which heads keep two right ways apart: a path left or right of an obstacle, taught half and half."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from rows import Row
from torch import Tensor

from sinew.core.types import Batch, CameraSpec, Features, Observation, RobotSpec
from sinew.models.config import AnyHeadConfig, FlowHeadConfig, GaussianHeadConfig, MlpHeadConfig
from sinew.models.heads.config import AutoregressiveHeadConfig, BinsHeadConfig, DiffusionHeadConfig
from sinew.models.policy import ChunkHead, RangedHead

COMMAND = "python benchmarks/models.py --only modes"
HORIZON, WIDTH = 9, 8
MIDDLE = HORIZON // 2
"""The step at which a path is beside the obstacle."""
UPDATES, ROWS, DRAWS = 300, 64, 1000
SEEDS = (0, 1, 2)
CLEAR = 0.5
"""How far from the obstacle's middle a path must be beside it; the taught ones are at 1."""
SPEC = RobotSpec(
    embodiment="point",
    cameras={"front": CameraSpec(8, 8)},
    state=("x",),
    state_units=("m",),
    action=("ahead", "aside"),
    action_units=("m", "m"),
    low=(-2.0, -2.0),
    high=(2.0, 2.0),
    hz=10.0,
    kind="waypoint",
)
KEEPING: dict[str, AnyHeadConfig] = {
    "diffusion": DiffusionHeadConfig(width=96, layers=2),
    "flow": FlowHeadConfig(width=96, layers=2),
    "gaussian, mixture of 4": GaussianHeadConfig(hidden=(96, 96), mixture=4),
    "autoregressive, values": AutoregressiveHeadConfig(width=48, layers=2, bins=64),
    "autoregressive, fast": AutoregressiveHeadConfig(width=48, layers=2, tokens="fast", vocabulary=256),
    "bins": BinsHeadConfig(hidden=96, width=32, bins=64),
}
AVERAGING: dict[str, AnyHeadConfig] = {
    "mlp, mse": MlpHeadConfig(hidden=(96, 96), loss="mse"),
    "mlp, l1": MlpHeadConfig(hidden=(96, 96)),
    "gaussian": GaussianHeadConfig(hidden=(96, 96)),
}


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (the signature that all parts share)
    """Yield one row a head: the rarer side's share, with the other one's, collisions and changes of mind."""
    seeds = SEEDS[:1] if quick else SEEDS
    for name, config in {**KEEPING, **AVERAGING}.items():
        found = torch.stack([shares(config, seed) for seed in seeds]).mean(dim=0)
        left, right, hit, whole = (round(100 * float(share), 1) for share in found)
        rarer, keeps = min(left, right), name in KEEPING
        yield Row(
            f"two ways, {name} head: share of the rarer side",
            rarer,
            "%",
            ">= 30" if keeps else "",
            rarer >= 30 if keeps else None,
            n=DRAWS * len(seeds),
            seeds=", ".join(map(str, seeds)),
            command=COMMAND,
            note=f"left {left} %, right {right} %, into the obstacle {hit} %; {whole} % stay on one side all the way",
        )


def shares(config: AnyHeadConfig, seed: int) -> Tensor:
    """Train one head and return the shares of left, right, into the obstacle, and on one side all the way."""
    torch.manual_seed(seed)
    head: Any = config.build(WIDTH, HORIZON, SPEC)
    if isinstance(head, RangedHead):
        head.fit_range(torch.tensor([-1.2, -1.5]), torch.tensor([1.2, 1.5]))
    if isinstance(head, ChunkHead):
        head.fit_chunks(taught(2000)[1])
    optimiser = torch.optim.AdamW(head.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, UPDATES, pct_start=0.1)
    for _ in range(UPDATES):
        place, chunk = taught(ROWS)
        obs = Observation[Tensor]({}, torch.zeros(ROWS, 1, 1), ("",) * ROWS)
        batch = Batch(obs, chunk, torch.zeros(ROWS, HORIZON, dtype=torch.bool), torch.ones(ROWS))
        optimiser.zero_grad()
        head.loss(seen(place), batch).mean().backward()
        optimiser.step()
        schedule.step()
    place, _ = taught(DRAWS)
    with torch.no_grad():
        aside = draw(config, head)(seen(place))[..., 1] - place[:, None]
    left, right = aside[:, MIDDLE] > CLEAR, aside[:, MIDDLE] < -CLEAR
    whole = (aside[:, 1:-1] > 0).all(dim=1) | (aside[:, 1:-1] < 0).all(dim=1)
    return torch.stack([part.float().mean() for part in (left, right, ~(left | right), whole)])


def draw(config: AnyHeadConfig, head: Any) -> Callable[[Features], Tensor]:  # noqa: ANN401  (any head)
    """Return how a head is asked for a chunk: as it acts where noise decides, as it explores where it can be drawn."""
    if isinstance(config, FlowHeadConfig | DiffusionHeadConfig) or not config.stochastic:
        return head.sample
    return lambda features: head.rollout(features)[0]


def taught(count: int) -> tuple[Tensor, Tensor]:
    """Return where obstacles are, (count,), and paths (count, H, 2) past them, left or right by the toss of a coin."""
    place = 0.4 * torch.rand(count) - 0.2
    along = torch.linspace(0, 1, HORIZON)
    side = (torch.rand(count) < 0.5).float() * 2 - 1
    aside = place[:, None] + side[:, None] * (torch.pi * (0.1 + 0.8 * along)).sin() * (1 + 0.05 * torch.randn(count, 1))
    ahead = (2 * along - 1).expand(count, -1) + 0.02 * torch.randn(count, 1)
    return place, torch.stack([ahead, aside], dim=-1)


def seen(place: Tensor) -> Features:
    """Return features (count, 1, 8) that say where the obstacle is."""
    return Features((place[:, None] * 5 * torch.arange(1, WIDTH + 1) / WIDTH).sin()[:, None])
