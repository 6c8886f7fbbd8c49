"""Settings of collecting, windowing and augmenting; light to import."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CollectConfig:
    """How demonstrations are recorded from a world's scripted expert.

    Attributes:
        episodes: successful episodes to keep.
        mix: share of each task by name, in any unit; empty means equal shares.
        noise: standard deviations of action noise, as a share of half the action range; each
            episode draws one. Labels stay clean.
        burst: chance per tick of a burst of stronger noise.
        flip: chance per tick that a two-valued action is flipped.
        group: episodes per job handed to a worker process; part of what is recorded.
        held_out: share of episodes kept for validation.
    """

    episodes: int = 3000
    mix: dict[str, float] | None = None
    noise: tuple[float, ...] = (0.0, 0.2, 0.35)
    burst: float = 0.02
    flip: float = 0.005
    group: int = 50
    held_out: float = 0.02


@dataclass(frozen=True)
class AugmentConfig:
    """Image changes in training, the same over a window.

    Attributes:
        brightness: largest relative change.
        contrast: largest relative change.
        shift: largest shift [px], edge-padded.
    """

    brightness: float = 0.15
    contrast: float = 0.15
    shift: int = 0
