"""Settings of the training loop and its optimiser; light to import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Precision = Literal["fp32", "bf16"]
Parallel = Literal["ddp", "fsdp2", "zero2", "zero3"]


@dataclass(frozen=True)
class OptimConfig:
    """AdamW, or Muon beside it, with linear warm-up, cosine decay and clipping.

    Attributes:
        lr: peak learning rate.
        weight_decay: on matrices only, not on norms and biases.
        warmup: share of the steps until the peak, 2,000 steps at most; from 1 on, that many steps.
        final: last learning rate as a share of the peak.
        clip: largest gradient norm.
        ema: decay of the averaged weights per update; 0 keeps none.
        parts: learning rates of parts, as shares of ``lr``, by the beginning of their parameters' names, such as
            network.vision; the longest that fits counts, and 0 freezes a part.
        accumulate: pieces that a batch is cut into, one after another in memory; the step is that of the whole batch.
        precision: bf16 computes in half the memory, with weights, averages and losses in fp32.
        parallel: how processes that train together share the weights: "ddp", everyone has all; "fsdp2", everyone has a
            shard; "zero2" and "zero3", DeepSpeed's ZeRO; None means ddp. A run may go on with another.
        muon: learning rate, as a share of ``lr``, of the matrices within the network, which Muon steps (see
            ``engine/muon.py``); None leaves all to AdamW.

    A setting that is None is as if it did not exist.
    """

    lr: float = 3e-3
    weight_decay: float = 1e-3
    warmup: float = 0.03
    final: float = 0.02
    clip: float = 1.0
    ema: float = 0.998
    parts: dict[str, float] | None = None
    accumulate: int | None = None
    precision: Precision | None = None
    parallel: Parallel | None = None
    muon: float | None = None


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
        eval_every: try the policy out every so many updates too.
        patience: tries in a row without a better score after which training ends.
        rollback: times that a spike of the loss takes the run back to the checkpoint before it, and past those batches.
        compile: what torch.compile translates the network with, such as inductor.

    However that is set, the policy is tried out when training ends.
    """

    updates: int = 6000
    log_every: int = 50
    save_every: int = 500
    keep: int = 2
    eval_at: tuple[float, ...] = (0.25, 0.5, 0.75)
    max_bad: int = 10
    eval_every: int | None = None
    patience: int | None = None
    rollback: int | None = None
    compile: str | None = None


@dataclass(frozen=True)
class CostConfig:
    """Rates for the forecast of a run card; they change no result.

    Attributes:
        watts: mean power of the machine while it trains; by default the GPUs' power limits, where there are any.
        per_kwh: price of a kilowatt-hour.
        per_hour: price of an hour of the machine, such as a cloud's.
        currency: of both; USD by default.
    """

    watts: float | None = None
    per_kwh: float | None = None
    per_hour: float | None = None
    currency: str | None = None
