"""The training loop against Hugging Face's Trainer, on the same model and data."""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
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
        yield from trainer_rows("small", Sizes(64, 3, 256, 16, length), repeats, steps=3200 // length, bar=1.15)
    if not quick:
        yield from trainer_rows("large", Sizes(512, 8, 4096, 4), repeats, steps=2, bar=1.0)


def trainer_rows(name: str, sizes: Sizes, repeats: int, *, steps: int, bar: float) -> Iterator[Row]:
    """Whole trainings of both in turn, each side in a process of its own.

    The first training of each is thrown away, and so is the first update of all.
    """
    spawn = multiprocessing.get_context("spawn")
    seconds: dict[str, list[float]] = {"averaged": [], "plain": [], "theirs": []}
    with ProcessPoolExecutor(1, spawn) as ours, ProcessPoolExecutor(1, spawn) as theirs:
        for repeat in range(repeats + 1):
            order: list[tuple[str, Callable[[], Future[float]]]] = [
                ("averaged", lambda: ours.submit(by_sinew, sizes, steps, 0.998)),
                ("theirs", lambda: theirs.submit(by_transformers, sizes, steps)),
                ("plain", lambda: ours.submit(by_sinew, sizes, steps, 0.0)),
            ]
            for kind, job in order if repeat % 2 else reversed(order):
                seconds[kind].append(job().result())
    size = sum(item.numel() for item in sizes.model().parameters())
    for kind, said in (("plain", "the same features"), ("averaged", "and averaged weights")):
        ratios = sorted(b / a for a, b in zip(seconds[kind][1:], seconds["theirs"][1:], strict=True))
        middle = statistics.median(ratios)
        shape = f"{size / 1e6:.2f}M, {sizes.batch} x {sizes.length} tokens"
        what = f"samples per CPU-second against transformers.Trainer, {name} model ({shape}), {said}"
        low, high = round(ratios[0], 3), round(ratios[-1], 3)
        state = middle >= bar if kind == "plain" else None
        limit = f">= {bar}" if kind == "plain" else ""
        each = {side: 1000 * statistics.median(taken[1:]) / steps for side, taken in seconds.items()}
        note = f"{each[kind]:.1f} against {each['theirs']:.1f} ms an update; one thread each, processes of their own"
        yield Row(what, round(middle, 3), "x", limit, state, repeats, low, high, "0", COMMAND, note)


class Stopwatch:
    """CPU seconds from the end of a training's first update to the end of its last."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    def first(self) -> None:
        """Begin."""
        self._began = time.process_time()

    def last(self) -> None:
        """End."""
        self.seconds = time.process_time() - self._began


def by_sinew(sizes: Sizes, steps: int, ema: float) -> float:
    """Train with our loop, and return the seconds."""
    torch.set_num_threads(1)
    times = Stopwatch()
    learner = Learner(sizes.model(), sizes.data(), sizes.batch, steps + 2, ema=ema)
    learner.between = lambda update: {1: times.first, steps + 1: times.last}.get(update, lambda: None)()
    train(learner, steps + 2)
    return times.seconds


def by_transformers(sizes: Sizes, steps: int) -> float:
    """Train with Hugging Face's, and return the seconds."""
    from transformers import Trainer as TheirTrainer
    from transformers import TrainerCallback, TrainingArguments

    torch.set_num_threads(1)
    times = Stopwatch()

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
    return times.seconds
