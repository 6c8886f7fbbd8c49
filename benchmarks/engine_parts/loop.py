"""The training loop with everything on, against a loop written by hand."""

from __future__ import annotations

import io
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rows import Row
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from sinew.core.rundir import RunDir
from sinew.core.types import Cursor, Metrics
from sinew.engine.config import LoopConfig, OptimConfig
from sinew.engine.optim import Ema, Optim
from sinew.engine.progress import Progress
from sinew.engine.trainer import Trainer

COMMAND = "python benchmarks/engine.py --only loop"
BLOCK = 50
"""Updates between two lines of the log, and of a block that is timed."""
LOOKS = {"cpu", "item", "tolist", "__bool__", "__float__", "__int__", "__index__"}
"""Methods of a tensor by which the host waits for a device."""


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (as every group)
    """Against a bare loop."""
    torch.set_num_threads(1)
    yield from bare_rows(3 if quick else 9)


class Calls(TorchDispatchMode):
    """Counts aten calls."""

    count = 0

    def __torch_dispatch__(self, function: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Count and go on."""
        self.count += 1
        return function(*args, **(kwargs or {}))


class Looks(TorchFunctionMode):
    """Counts the moments at which the host would wait for a device."""

    count = 0

    def __torch_function__(self, function: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Count and go on."""
        self.count += getattr(function, "__name__", "") in LOOKS
        return function(*args, **(kwargs or {}))


@dataclass(frozen=True)
class Tokens:
    """Rows of token numbers (B, N)."""

    ids: Tensor

    @property
    def num_rows(self) -> int:
        """B."""
        return len(self.ids)


@dataclass(frozen=True)
class Sizes:
    """A decoder: width, layers, words, and rows of a batch."""

    width: int
    layers: int
    words: int
    batch: int
    length: int = 64

    def model(self) -> nn.Module:
        """Return a Qwen2 with seeded random weights."""
        from transformers import Qwen2Config, Qwen2ForCausalLM

        torch.manual_seed(0)
        config = Qwen2Config(
            vocab_size=self.words,
            hidden_size=self.width,
            intermediate_size=3 * self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            use_cache=False,
        )
        return Qwen2ForCausalLM(config)

    def data(self) -> Tensor:
        """Return rows to learn from."""
        return torch.randint(0, self.words, (512, self.length), generator=torch.Generator().manual_seed(0))


class Learner:
    """A recipe around a loss: averaged weights and all that an optimiser of ours does."""

    def __init__(self, model: nn.Module, data: Tensor, batch: int, updates: int, *, ema: float = 0.998) -> None:
        self.model, self.data, self.batch = model, data, batch
        self.optim = Optim(model, OptimConfig(ema=ema), updates)
        self.ema = Ema(model, ema) if ema else None
        self.between: Callable[[int], None] = lambda update: None

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The model."""
        return {"policy": self.model}

    @property
    def optims(self) -> Mapping[str, Optim]:
        """Its optimiser."""
        return {"policy": self.optim}

    def acting(self) -> nn.Module:
        """Return the averaged model; it is never asked to save more than nothing."""
        module = self.model if self.ema is None else self.ema.module()
        vars(module)["save_pretrained"] = save_nothing
        return module

    def batches(self, start: Cursor) -> Iterator[Tokens]:
        """Yield batches; ``between`` is called before each."""
        for update in itertools.count(start.update):
            self.between(update)
            yield Tokens(self.data[torch.arange(self.batch) + update * self.batch % (len(self.data) - self.batch)])

    def update(self, batch: Tokens) -> Metrics:
        """Take one step."""
        losses: list[Tensor] = []

        def loss() -> Tensor:
            losses.append(loss_of(self.model, batch.ids))
            return losses[0]

        norm = self.optim.step([loss])
        if self.ema is not None:
            self.ema.update()
        return {"loss": losses[0].detach(), "grad_norm": norm}

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: saving is not measured here."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take nothing back."""


def save_nothing(place: Path) -> None:
    """Write a file that a checkpoint can be made of."""
    save_file({"none": torch.zeros(1)}, place / "model.safetensors")


def loss_of(model: nn.Module, ids: Tensor) -> Tensor:
    """Return the mean surprise of the next token."""
    return model(input_ids=ids, labels=ids).loss


def train(learner: Learner, updates: int, *, log_every: int = BLOCK) -> None:
    """Train in a directory of its own, lines, progress and diagnosis included."""
    config = LoopConfig(updates=updates, log_every=log_every, save_every=10**9, eval_at=())
    with tempfile.TemporaryDirectory() as place, Progress(updates, console=Console(file=io.StringIO())) as progress:
        Trainer(learner, config, RunDir(Path(place)), seed=0, on_log=progress.show, on_note=progress.note).run()


def bare(model: nn.Module, data: Tensor, batch: int) -> Iterator[None]:
    """Yield after every update of the shortest loop there is: no average, no schedule, no look at anything."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-3, fused=True)
    for update in itertools.count():
        ids = data[torch.arange(batch) + update * batch % (len(data) - batch)]
        optimiser.zero_grad(set_to_none=True)
        loss_of(model, ids).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        yield


def bare_rows(blocks: int) -> Iterator[Row]:
    """Blocks of both loops in turn, in one process; then one block more to count calls."""
    sizes = Sizes(64, 3, 256, 16)
    learner = Learner(sizes.model(), sizes.data(), sizes.batch, 10**5)
    other = bare(sizes.model(), sizes.data(), sizes.batch)
    learner.optim.waits = False  # the path of CUDA, on which looking costs
    seconds: list[tuple[float, float]] = []
    counting = ExitStack()
    calls, looks, began = (Calls(), Calls()), (Looks(), Looks()), [0.0]

    def between(update: int) -> None:
        block, place = divmod(update, BLOCK)
        if place != 1:  # a block runs from after a line of the log to after the next
            return
        ours = time.process_time() - began[0]
        if block == blocks + 2:
            counting.close()
        start = time.process_time()
        with ExitStack() as modes:
            for mode in (looks[1], calls[1]) if block == blocks + 2 else ():
                modes.enter_context(mode)
            for _ in range(BLOCK):
                next(other)
        if 1 < block <= blocks + 1:
            seconds.append((ours, time.process_time() - start))
        if block == blocks + 1:
            counting.enter_context(looks[0])
            counting.enter_context(calls[0])
        began[0] = time.process_time()

    learner.between = between
    train(learner, BLOCK * (blocks + 2) + 2)
    ratios = sorted(ours / theirs for ours, theirs in seconds)
    middle, aten = statistics.median(ratios), calls[0].count / calls[1].count
    size = sum(item.numel() for item in learner.model.parameters())
    what = f"an update with everything on against a bare loop, {size / 1e6:.2f}M parameters"
    note = "EMA, guards, schedule, log, progress and diagnosis; the bare loop has none of them"
    low, high = round(ratios[0], 3), round(ratios[-1], 3)
    yield Row(
        f"{what}, CPU time", round(middle, 3), "x", "<= 1.05", middle <= 1.05, blocks, low, high, "0", COMMAND, note
    )
    yield Row(f"{what}, aten calls", round(aten, 3), "x", "<= 1.05", aten <= 1.05, BLOCK, command=COMMAND)
    what = "times that the host waits for the device between two lines of the log, beside those of the model itself"
    waits = looks[0].count - looks[1].count
    yield Row(what, waits, "", "<= 1", waits <= 1, BLOCK, command=COMMAND, note="counted on the path of CUDA, on a CPU")
