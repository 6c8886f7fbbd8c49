"""Settings of an evaluation; light to import."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EvaluateConfig:
    """Which initial states are tried, and how many.

    Attributes:
        episodes: per task on the ``seen`` split (states never trained on, things known).
        extra: per task on every other split and control.
        controls: run the controls beside the success rate.
        rows: environments stepped together in one process.
        quick: per task when the policy is tried out during training.
        videos: films made for the report.
        tasks: of the world that are measured; None means all.
    """

    episodes: int = 100
    extra: int = 50
    controls: bool = True
    rows: int = 32
    quick: int = 20
    videos: int = 8
    tasks: tuple[str, ...] | None = None
