"""The training loop against Hugging Face's Trainer, on the same model and data."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import torch
from engine_parts.loop import BLOCK, Learner, Sizes, train
from rows import Row

COMMAND = "python benchmarks/engine.py --only trainers"


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (as every group)
    """A small model with short and with longer rows, then a large one."""
    torch.set_num_threads(1)
    repeats = 3 if quick else 7
    for length in (16,) if quick else (16, 64):
        yield from trainer_rows("small", Sizes(64, 3, 256, 16, length), repeats, steps=40, bar=1.15)
    if not quick:
        yield from trainer_rows("large", Sizes(512, 8, 4096, 4), repeats, steps=2, bar=1.0)


def trainer_rows(name: str, sizes: Sizes, repeats: int, *, steps: int, bar: float) -> Iterator[Row]:
    """Whole trainings of both in turn; the first update of each is not counted."""
    ours, plain, theirs = Times(), Times(), Times()
    for repeat in range(repeats + 1):
        order = [lambda: by_sinew(sizes, steps, ours, ema=0.998), lambda: by_transformers(sizes, steps, theirs)]
        order += [lambda: by_sinew(sizes, steps, plain, ema=0.0)]
        for job in order if repeat % 2 else reversed(order):
            job()
    size = sum(item.numel() for item in sizes.model().parameters())
    for found, kind in ((plain, "the same features"), (ours, "and averaged weights")):
        ratios = sorted(b / a for a, b in zip(found.seconds[1:], theirs.seconds[1:], strict=True))
        middle = statistics.median(ratios)
        shape = f"{size / 1e6:.2f}M, {sizes.batch} x {sizes.length} tokens"
        what = f"samples per CPU-second against transformers.Trainer, {name} model ({shape}), {kind}"
        low, high = round(ratios[0], 3), round(ratios[-1], 3)
        state = middle >= bar if found is plain else None
        limit = f">= {bar}" if found is plain else ""
        yield Row(what, round(middle, 3), "x", limit, state, repeats, low, high, "0", COMMAND)


class Times:
    """CPU seconds from the end of a training's first update to the end of its last."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._began = 0.0

    def first(self) -> None:
        """Begin."""
        self._began = time.process_time()

    def last(self) -> None:
        """End."""
        self.seconds.append(time.process_time() - self._began)


def by_sinew(sizes: Sizes, steps: int, times: Times, *, ema: float) -> None:
    """Train with our loop."""
    learner = Learner(sizes.model(), sizes.data(), sizes.batch, steps + 2, ema=ema)
    learner.between = lambda update: {1: times.first, steps + 1: times.last}.get(update, lambda: None)()
    train(learner, steps + 2)


def by_transformers(sizes: Sizes, steps: int, times: Times) -> None:
    """Train with Hugging Face's."""
    from transformers import Trainer as TheirTrainer
    from transformers import TrainerCallback, TrainingArguments

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ANN401
            {1: times.first, steps + 1: times.last}.get(state.global_step, lambda: None)()

    data = [{"input_ids": row, "labels": row} for row in sizes.data()]
    with tempfile.TemporaryDirectory() as place:
        arguments = TrainingArguments(
            output_dir=place,
            per_device_train_batch_size=sizes.batch,
            max_steps=steps + 2,
            learning_rate=3e-3,
            weight_decay=1e-3,
            lr_scheduler_type="cosine",
            logging_steps=BLOCK,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            optim="adamw_torch_fused",
            disable_tqdm=True,
            log_level="error",
        )
        TheirTrainer(model=sizes.model(), args=arguments, train_dataset=data, callbacks=[Clock()]).train()
