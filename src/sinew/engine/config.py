"""Settings of the training loop and its optimiser; light to import."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with linear warm-up, cosine decay and clipping.

    Attributes:
        lr: peak learning rate.
        weight_decay: on matrices only, not on norms and biases.
        warmup: share of the updates until the peak.
        final: last learning rate as a share of the peak.
        clip: largest gradient norm.
        ema: decay of the averaged weights per update; 0 keeps none.
    """

    lr: float = 3e-3
    weight_decay: float = 1e-3
    warmup: float = 0.03
    final: float = 0.02
    clip: float = 1.0
    ema: float = 0.998


@dataclass(frozen=True)
class LoopConfig:
    """How long training runs and what happens on the way.

    Attributes:
        updates: length of the run.
        log_every: updates between lines of metrics.jsonl.
        save_every: updates between checkpoints.
        keep: checkpoints kept beside ``best``.
        eval_at: shares of the run after which the policy is tried out.
        max_bad: consecutive non-finite updates after which the run stops.
    """

    updates: int = 6000
    log_every: int = 50
    save_every: int = 500
    keep: int = 2
    eval_at: tuple[float, ...] = (0.25, 0.5, 0.75)
    max_bad: int = 10
